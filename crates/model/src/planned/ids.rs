//! The ids of planned nodes, one after another.
//!
//! Most ids are `tvmps_`, 64 hex digits and `_d`. Of such an id only the bytes that its digits stand for are kept, and
//! which form it has: 33 bytes instead of 72.

use std::borrow::Cow;

use crate::hex::hex;

/// Digits that are worth it.
const LEAST_DIGITS: usize = 16;

/// Forms that are told apart; ids of further forms are kept as they are. Each pool has one or two, most fleets as well.
const MOST_FORMS: usize = 16;

/// The first byte of an id that is kept as it is.
const AS_IT_IS: u8 = u8::MAX;

/// The forms of the ids of a plan.
#[derive(Clone, Default)]
pub(super) struct IdForms(Vec<IdForm>);

/// What the ids of a form have around their digits.
#[derive(Clone)]
struct IdForm {
    before: Box<str>,
    after: Box<str>,
}

/// An id among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedId<'ids> {
    /// What it has around its digits; none if it is kept as it is.
    around: Option<(&'ids str, &'ids str)>,
    bytes: &'ids [u8],
}

impl IdForms {
    /// Appends an id to others. Whoever does so remembers where it ends.
    pub(super) fn pack(&mut self, id: &str, into: &mut Vec<u8>) {
        let packed =
            digits_of(id).and_then(|(before, digits, after)| Some((self.form(before, after)?, digits)));
        let Some((form, digits)) = packed else {
            into.push(AS_IT_IS);
            into.extend_from_slice(id.as_bytes());
            return;
        };
        into.push(form);
        into.extend(digits.chunks_exact(2).map(|pair| (value_of(pair[0]) << 4) | value_of(pair[1])));
    }

    /// The id that was packed into these bytes.
    pub(super) fn id<'ids>(&'ids self, packed: &'ids [u8]) -> PackedId<'ids> {
        let (form, bytes) = packed.split_first().unwrap_or((&AS_IT_IS, &[]));
        let around = self.0.get(usize::from(*form)).map(|IdForm { before, after }| (&**before, &**after));
        PackedId { around, bytes }
    }

    /// The number of a form; none if there are too many.
    fn form(&mut self, before: &str, after: &str) -> Option<u8> {
        let is_it = |form: &IdForm| *form.before == *before && *form.after == *after;
        let at = self.0.iter().position(is_it).or_else(|| {
            (self.0.len() < MOST_FORMS).then(|| {
                self.0.push(IdForm { before: before.into(), after: after.into() });
                self.0.len() - 1
            })
        })?;
        u8::try_from(at).ok()
    }
}

impl<'ids> PackedId<'ids> {
    /// The id.
    pub(super) fn text(self) -> Cow<'ids, str> {
        match self.around {
            Some((before, after)) => Cow::Owned([before, &hex(self.bytes), after].concat()),
            // It is a text, and nothing is lost.
            None => String::from_utf8_lossy(self.bytes),
        }
    }
}

/// What comes before the longest row of digits in an id, an even number of them, and what comes after; none if it has
/// few.
fn digits_of(id: &str) -> Option<(&str, &[u8], &str)> {
    let bytes = id.as_bytes();
    let rows = bytes.chunk_by(|one, other| is_digit(*one) == is_digit(*other));
    let mut begins = 0;
    let rows = rows.map(|row| {
        begins += row.len();
        (begins - row.len(), row)
    });
    let (begins, row) = rows.filter(|(_, row)| is_digit(row[0])).max_by_key(|(_, row)| row.len())?;
    let digits = &row[..row.len() & !1];
    (digits.len() >= LEAST_DIGITS).then(|| (&id[..begins], digits, &id[begins + digits.len()..]))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn value_of(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were() {
        let hex = "0123456789abcdef".repeat(4);
        let mut ids: Vec<String> = vec![
            format!("tvmps_{hex}_d"),
            format!("tvmps_{hex}_p"),
            // An odd number of digits, upper case, digits only, another alphabet, nothing around them, few, none.
            format!("tvmps_{}_d", &hex[1..]),
            format!("tvmps_{}_d", hex.to_uppercase()),
            "tvm-1219235766_1-20161207t222227z".into(),
            format!("é{hex}ü"),
            hex.clone(),
            "abcdef".into(),
            String::new(),
            format!("{hex}-{hex}{hex}"),
        ];
        // More forms than are told apart.
        ids.extend((0..300).map(|form| format!("f{form}_{hex}")));
        let mut forms = IdForms::default();
        let mut pack = |id: &String| {
            let mut packed = vec![];
            forms.pack(id, &mut packed);
            packed
        };
        let packed: Vec<_> = ids.iter().map(&mut pack).collect();
        let back: Vec<_> = packed.iter().map(|packed| forms.id(packed).text()).collect();
        assert_eq!(back, ids);
        assert_eq!(forms.0.len(), MOST_FORMS);
    }

    /// A million nodes make this visible.
    #[test]
    fn an_id_of_the_service_takes_33_bytes() {
        let id = format!("tvmps_{}_d", "0123456789abcdef".repeat(4));
        let (mut forms, mut packed) = (IdForms::default(), vec![]);
        forms.pack(&id, &mut packed);
        assert_eq!((id.len(), packed.len()), (72, 33));
    }
}
