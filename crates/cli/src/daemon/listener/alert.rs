//! Alerts in the common alert schema of Azure Monitor. Only the members that identify an alert, and say whether it
//! fired, are read.

use fleetlogs_model::timestamp;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

/// The `schemaId` of the common alert schema.
const SCHEMA: &str = "azureMonitorCommonAlertSchema";

/// The longest id of an alert, in bytes. It is a resource id of some 150 bytes.
pub(super) const LONGEST_ID: usize = 2048;

/// An alert.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Alert {
    /// Something is wrong.
    Fired(FiredAlert),
    /// It is over.
    Resolved,
}

/// An alert that fired.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FiredAlert {
    pub(super) id: String,
    pub(super) at: OffsetDateTime,
    /// The name of its rule: any text.
    pub(super) rule: String,
    /// `Sev0` to `Sev4`: any text.
    pub(super) severity: String,
}

impl Alert {
    /// Reads the body of a request. The error quotes nothing of the body.
    pub(super) fn read(body: &[u8]) -> Result<Self, &'static str> {
        // Some senders begin with a byte order mark.
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let mut body: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
        if body["schemaId"] != SCHEMA {
            return Err(
                "the body does not follow the common alert schema; enable that schema in the action group",
            );
        }
        let essentials = body.pointer_mut("/data/essentials").map(Value::take);
        let essentials: Essentials = serde_json::from_value(essentials.unwrap_or_default()).map_err(
            |_| "`data.essentials` lacks `alertId` or `monitorCondition`, or does not follow the schema",
        )?;
        if essentials.monitor_condition.eq_ignore_ascii_case("resolved") {
            return Ok(Self::Resolved);
        }
        if !essentials.monitor_condition.eq_ignore_ascii_case("fired") {
            return Err("`monitorCondition` is neither `Fired` nor `Resolved`");
        }
        if essentials.alert_id.is_empty() || essentials.alert_id.len() > LONGEST_ID {
            return Err("`alertId` is empty or too long");
        }
        let at = essentials.fired_date_time.as_deref();
        let at = at.and_then(timestamp::parse);
        Ok(Self::Fired(FiredAlert {
            id: essentials.alert_id,
            at: at.ok_or("`firedDateTime` is missing or not an RFC 3339 time")?,
            rule: essentials.alert_rule.unwrap_or_default(),
            severity: essentials.severity.unwrap_or_default(),
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Essentials {
    alert_id: String,
    monitor_condition: String,
    fired_date_time: Option<String>,
    alert_rule: Option<String>,
    severity: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn essentials(essentials: &Value) -> Result<Alert, &'static str> {
        let body = json!({ "schemaId": SCHEMA, "data": { "essentials": essentials, "alertContext": null } });
        Alert::read(body.to_string().as_bytes())
    }

    #[test]
    fn an_alert_is_known_by_its_id_and_time() {
        let fired = essentials(&json!({
            "alertId": "/subscriptions/S/providers/Microsoft.AlertsManagement/alerts/A", "alertRule": "unusable nodes",
            "severity": "Sev2", "signalType": "Metric", "monitorCondition": "Fired",
            "firedDateTime": "2026-11-22T09:30:00.3713213Z", "description": null, "unheardOf": [1]
        }));
        let Ok(Alert::Fired(fired)) = fired else { panic!("{fired:?}") };
        assert_eq!(fired.at, datetime!(2026-11-22 09:30:00.371_321_3 UTC));
        assert_eq!((fired.rule.as_str(), fired.severity.as_str()), ("unusable nodes", "Sev2"));
    }

    #[test]
    fn what_is_over_needs_no_time() {
        let resolved = essentials(&json!({ "alertId": "a", "monitorCondition": "Resolved" }));
        assert_eq!(resolved, Ok(Alert::Resolved));
    }

    #[test]
    fn a_byte_order_mark_does_no_harm() {
        let body = json!({ "schemaId": SCHEMA, "data": { "essentials": { "alertId": "a", "monitorCondition": "Resolved" } } });
        assert_eq!(Alert::read(format!("\u{feff}{body}").as_bytes()), Ok(Alert::Resolved));
    }

    #[test]
    fn what_is_no_alert_is_told() {
        let wrong = |body: &str| Alert::read(body.as_bytes()).unwrap_err();
        assert!(wrong("fired!").contains("not JSON"));
        assert!(wrong("[]").contains("common alert schema"));
        assert!(wrong("{\"schemaId\":\"AzureMonitorMetricAlert\"}").contains("common alert schema"));
        for data in ["[]", "[1]", "\"x\"", "null", "1", "{\"essentials\":[]}"] {
            let body = format!("{{\"schemaId\":\"{SCHEMA}\",\"data\":{data}}}");
            assert!(wrong(&body).contains("essentials"), "{body}");
        }
        assert!(essentials(&Value::Null).unwrap_err().contains("essentials"));
        let of = |condition, at| {
            essentials(&json!({ "alertId": "a", "monitorCondition": condition, "firedDateTime": at }))
        };
        assert!(of("Snoozed", "2026-11-22T09:30:00Z").unwrap_err().contains("monitorCondition"));
        for at in ["yesterday", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59"] {
            assert!(of("Fired", at).unwrap_err().contains("firedDateTime"), "{at}");
        }
    }
}
