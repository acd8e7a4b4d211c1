//! Mail, as files in a directory that a mail server picks up (Postfix's `maildrop`, IIS's `Pickup` and others have one).

use std::path::{Path, PathBuf};

/// Where mails are left.
pub struct Outbox(PathBuf);

impl Outbox {
    /// One in this directory.
    pub fn in_directory(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Leaves a mail there. The same name twice is the same mail: who is not sure whether it was sent sends it again.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn send(&self, name: &str, to: &str, subject: &str, text: &str) -> std::io::Result<()> {
        let mail = format!("To: {to}\r\nSubject: {subject}\r\n\r\n{text}\r\n");
        crate::write_whole(&self.0.join(format!("{name}.eml")), mail.as_bytes())
    }
}
