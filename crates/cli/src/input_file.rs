//! Files that a person names: configs, secrets, plans, scenarios. They are read to a limit and not waited for without
//! end, and text is taken in the encodings that editors and shells write: UTF-8 and UTF-16, with a byte order mark.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Cursor, IsTerminal as _, Read, Seek};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use zeroize::Zeroizing;

/// The longest config or scenario, in bytes. A config with a thousand accounts is well below a megabyte.
pub(crate) const LONGEST_TEXT: u64 = 4 << 20;

/// The longest file of another kind, in bytes, that is read whole.
const LONGEST_FILE: u64 = 64 << 20;

/// The longest plan that is read from a pipe, in bytes.
const LONGEST_PLAN: u64 = 1 << 30;

/// How long a pipe may take until its end. What writes it, as in `<(vault read …)`, answers within seconds.
const WAIT: Duration = Duration::from_secs(30);

/// Why a file cannot be read.
#[derive(Debug)]
pub(crate) enum InputError {
    Io(io::Error),
    /// It is stdin, and somebody would have to type it.
    Terminal,
    /// It is a device; some of them never end.
    Device,
    /// It has more bytes than this.
    TooLong(u64),
    /// A pipe that nobody writes to, or does not close.
    NoEnd,
    NotText(NotText),
}

/// Bytes that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotText {
    /// The line of the first byte that does not belong, counted from 1.
    line: usize,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Terminal => f.write_str("it is a terminal"),
            Self::Device => f.write_str("it is a device, not a file"),
            Self::TooLong(longest) if *longest >= 1 << 20 => {
                write!(f, "it has more than {} MiB", longest >> 20)
            }
            Self::TooLong(longest) => write!(f, "it has more than {} KiB", longest >> 10),
            Self::NoEnd => {
                write!(
                    f,
                    "it is a pipe, and what should write to it did not end within {} seconds",
                    WAIT.as_secs()
                )
            }
            Self::NotText(why) => why.fmt(f),
        }
    }
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is not text in UTF-8 or UTF-16 (line {})", self.line)
    }
}

/// The bytes of a file as they are, and the text in them.
pub(crate) struct InputText {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) text: Zeroizing<String>,
}

/// Reads a text file of at most `longest` bytes.
pub(crate) fn read_text(path: &Path, longest: u64) -> Result<InputText, InputError> {
    let bytes = read_bytes(path, longest, WAIT)?;
    let text = decode(&bytes).map_err(InputError::NotText)?;
    Ok(InputText { bytes, text })
}

/// Reads a text from stdin, of at most `longest` bytes. It can be read once only, and so is kept for whoever reads it
/// again.
pub(crate) fn read_stdin(longest: u64) -> Result<InputText, InputError> {
    static KEPT: Mutex<Option<Zeroizing<Vec<u8>>>> = Mutex::new(None);
    let mut kept = KEPT.lock();
    if kept.is_none() {
        if io::stdin().is_terminal() {
            return Err(InputError::Terminal);
        }
        *kept = Some(read_within(|| Ok(io::stdin()), longest, WAIT)?);
    }
    let bytes = kept.clone().unwrap_or_default();
    let text = decode(&bytes).map_err(InputError::NotText)?;
    Ok(InputText { bytes, text })
}

/// A file that may be large, and is read more than once.
pub(crate) trait LargeInput: Read + Seek {}

impl<R: Read + Seek> LargeInput for R {}

/// Opens a file that may be large. A pipe is read to its end first.
pub(crate) fn open(path: &Path) -> Result<Box<dyn LargeInput>, InputError> {
    if not_a_device(path)?.is_file() {
        return Ok(Box::new(File::open(path).map_err(InputError::Io)?));
    }
    let bytes = read_bytes(path, LONGEST_PLAN, WAIT)?;
    Ok(Box::new(Cursor::new(bytes.to_vec())))
}

/// Reads a small file whole.
pub(crate) fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_bytes(path, LONGEST_FILE, WAIT).map_err(|error| match error {
        InputError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// Refuses a device, whose content may have no end.
pub(crate) fn refuse_device(path: &Path) -> Result<(), InputError> {
    not_a_device(path).map(|_| ())
}

fn read_bytes(path: &Path, longest: u64, wait: Duration) -> Result<Zeroizing<Vec<u8>>, InputError> {
    not_a_device(path)?;
    let path = path.to_owned();
    read_within(move || File::open(path), longest, wait)
}

/// Opens and reads what may be a pipe. Opening one that nobody writes to never returns, so it happens on a thread that
/// can be left behind.
fn read_within<R: Read>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
    longest: u64,
    wait: Duration,
) -> Result<Zeroizing<Vec<u8>>, InputError> {
    let (send, bytes) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = open().and_then(|file| file.take(longest + 1).read_to_end(&mut bytes));
        let _ = send.send(read.map(|_| bytes));
    });
    let bytes = bytes.recv_timeout(wait).map_err(|_| InputError::NoEnd)?.map_err(InputError::Io)?;
    if bytes.len() as u64 > longest { Err(InputError::TooLong(longest)) } else { Ok(bytes) }
}

fn not_a_device(path: &Path) -> Result<Metadata, InputError> {
    let metadata = std::fs::metadata(path).map_err(InputError::Io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(InputError::Device);
        }
    }
    Ok(metadata)
}

/// The text in bytes, without its byte order mark. Windows PowerShell 5 writes UTF-16 wherever it redirects output.
pub(crate) fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, NotText> {
    let (rest, is_little) = match bytes {
        [0xFF, 0xFE, rest @ ..] => (rest, true),
        [0xFE, 0xFF, rest @ ..] => (rest, false),
        // Without a mark: every text that is meant here begins with a character of ASCII.
        [first, 0, ..] if *first != 0 => (bytes, true),
        [0, first, ..] if *first != 0 => (bytes, false),
        _ => {
            let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).map_err(|error| {
                let lines = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n');
                NotText { line: lines.count() + 1 }
            });
            return text.map(|text| Zeroizing::new(text.to_owned()));
        }
    };
    let unit = |pair: [u8; 2]| if is_little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
    let (units, odd) = rest.as_chunks::<2>();
    let mut text = Zeroizing::new(String::with_capacity(units.len()));
    for character in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        let Ok(character) = character else { return Err(NotText { line: text.lines().count().max(1) }) };
        text.push(character);
    }
    if odd.is_empty() { Ok(text) } else { Err(NotText { line: text.lines().count().max(1) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn text_is_read_in_every_encoding_that_shells_and_editors_write() {
        let text = "rate = 5\r\n# größer\r\n";
        let table = [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
            utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ];
        for bytes in table {
            assert_eq!(decode(&bytes).unwrap().as_str(), text, "{:?}", &bytes[..4]);
        }
        assert_eq!(decode(b"").unwrap().as_str(), "");
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        let line = |bytes: &[u8]| decode(bytes).unwrap_err().line;
        assert_eq!(line(b"a = 1\nb = \"gr\xF6\xDFer\"\n"), 2);
        assert_eq!(line(b"\xFF\xFEa\0\x00\xD8b\0"), 1);
        assert_eq!(line(b"\xFF\xFEa\0b"), 1);
        let told = InputError::NotText(NotText { line: 2 }).to_string();
        assert_eq!(told, "it is not text in UTF-8 or UTF-16 (line 2)");
    }

    #[cfg(unix)]
    #[test]
    fn devices_pipes_without_a_writer_and_long_files_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let told = |path: &Path| read_bytes(path, 10, Duration::from_millis(300)).unwrap_err().to_string();
        assert_eq!(told(Path::new("/dev/zero")), "it is a device, not a file");
        assert_eq!(told(Path::new("/dev/null")), "it is a device, not a file");
        let long = dir.path().join("long");
        std::fs::write(&long, "eleven long").unwrap();
        assert!(matches!(read_bytes(&long, 10, WAIT), Err(InputError::TooLong(10))));
        let pipe = |name: &str| {
            let pipe = dir.path().join(name);
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            pipe
        };
        let silent = pipe("silent");
        assert!(matches!(read_bytes(&silent, 10, Duration::from_millis(300)), Err(InputError::NoEnd)));
        // Another one: the reader that was left behind still waits at the first.
        let pipe = pipe("pipe");
        let written = pipe.clone();
        std::thread::spawn(move || std::fs::write(written, "text").unwrap());
        assert_eq!(*read_bytes(&pipe, 10, WAIT).unwrap(), b"text");
    }
}
