//! The text of `incidents.json`: a version, and one incident a line, oldest first.

use serde::{Deserialize, Serialize};

use crate::incidents::record::Incident;

/// One is added when an old reader would misunderstand.
const VERSION: u64 = 1;

/// What the file can't be read for.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is something else.
    #[error("this is not what porchd writes there ({0})")]
    Foreign(#[from] serde_json::Error),
    /// A newer porchd has written it.
    #[error("it is of version {0}, which this porchd does not know")]
    Version(u64),
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u64,
}

#[derive(Deserialize)]
struct Body {
    incidents: Vec<Incident>,
}

/// The text that holds `incidents`.
pub fn text<'a>(incidents: impl Iterator<Item = &'a Incident>) -> String {
    // These types hold nothing that JSON can't: no maps, no floats.
    let lines: Vec<String> =
        incidents.map(|incident| serde_json::to_string(incident).unwrap_or_default()).collect();
    format!("{{\"version\":{VERSION},\"incidents\":[\n{}\n]}}\n", lines.join(",\n"))
}

/// The incidents that `text` holds.
///
/// # Errors
/// When it is not what `text` makes.
pub fn read(text: &str) -> Result<Vec<Incident>, FileError> {
    let head: Head = serde_json::from_str(text)?;
    if head.version != VERSION {
        return Err(FileError::Version(head.version));
    }
    Ok(serde_json::from_str::<Body>(text)?.incidents)
}
