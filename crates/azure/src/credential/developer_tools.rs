//! Runs `az` and `azd`, and says what they printed if it is not what the SDK expects: its own message tells only the
//! place in the JSON where reading stopped.

use std::ffi::OsStr;
use std::io;
use std::pin::Pin;
use std::process::Output;
use std::sync::Arc;

use azure_identity::{Executor, new_executor};

use crate::redact::one_line;

/// How much to show of what a tool printed, in characters.
const LONGEST: usize = 160;

/// Runs programs as the SDK does.
#[derive(Debug)]
pub(super) struct CheckedExecutor(Arc<dyn Executor>);

impl CheckedExecutor {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(new_executor()))
    }
}

impl Executor for CheckedExecutor {
    // Written by hand because the trait uses `async_trait`, which would be a dependency for this alone.
    fn run<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        program: &'b OsStr,
        args: &'c [&'d OsStr],
    ) -> Pin<Box<dyn Future<Output = io::Result<Output>> + Send + 'e>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
        Self: 'e,
    {
        Box::pin(async move {
            let output = self.0.run(program, args).await?;
            let command = args.last().map(|command| command.to_string_lossy()).unwrap_or_default();
            let tool = if command.contains("azd ") { "azd" } else { "az" };
            checked(tool, output)
        })
    }
}

/// The output of a tool that succeeded, if it is a JSON object; lines of warnings before it are taken off.
fn checked(tool: &str, output: Output) -> io::Result<Output> {
    if !output.status.success() {
        return Ok(output);
    }
    let is_object = |bytes: &[u8]| {
        bytes.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    };
    let printed = output.stdout.trim_ascii();
    let starts = printed.iter().enumerate().filter(|(_, byte)| **byte == b'{').map(|(at, _)| at);
    match starts.take(10).find(|at| is_object(&printed[*at..])) {
        Some(0) => Ok(output),
        Some(start) => Ok(Output { stdout: printed[start..].to_vec(), ..output }),
        None => {
            let shown =
                match one_line(&String::from_utf8_lossy(&printed[..printed.len().min(4 * LONGEST)]), LONGEST)
                {
                    nothing if nothing.is_empty() => "nothing".to_owned(),
                    something => format!("`{something}`"),
                };
            Err(io::Error::other(format!("`{tool}` printed something other than JSON: {shown}")))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(stdout: &str) -> Output {
        Output { status: ExitStatus::from_raw(0), stdout: stdout.into(), stderr: vec![] }
    }

    #[test]
    fn what_is_not_json_is_shown_without_secrets() {
        let read =
            |text: &str| checked("az", output(text)).map(|output| String::from_utf8(output.stdout).unwrap());
        let json = r#"{"accessToken": "x", "expires_on": 1}"#;
        assert_eq!(read(json).unwrap(), json);
        assert_eq!(read(&format!("WARNING: {{old}} extension\n{json}\n")).unwrap(), json);
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            refused("accessToken  expiresOn\n-----\neyJhbGciOiJSUzI1NiJ9.TOPSECRET.x  2036\n"),
            "`az` printed something other than JSON: `accessToken expiresOn ----- <redacted> 2036`"
        );
        assert_eq!(refused("\n"), "`az` printed something other than JSON: nothing");
        assert!(refused(&"x".repeat(5000)).len() < 250);
        // A tool that failed says why itself.
        let failed = Output { status: ExitStatus::from_raw(256), ..output("no") };
        assert!(checked("az", failed).is_ok());
    }
}
