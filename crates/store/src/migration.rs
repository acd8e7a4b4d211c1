//! What the stores that keep a schema have in common: its steps, and which programs may use it.
//!
//! Every step that was applied is on record with its checksum, and with the oldest program that still works once it is
//! there (`usable_from`). So a program can tell a newer schema that it may use from one that it may not, though it knows
//! nothing of the step. docs/design/0008-schema-versions.md has the rules for those who write one.

use crate::error::{Area, Error};

/// One step of a schema.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) version: u32,
    pub(crate) name: &'static str,
    /// The oldest program that works once this is applied, by the newest step that it knows. Most steps leave the one
    /// before them in use: `version - 1`.
    pub(crate) usable_from: u32,
    pub(crate) sql: &'static str,
}

impl Migration {
    pub(crate) fn checksum(&self) -> String {
        blake3::hash(self.sql.as_bytes()).to_hex().to_string()
    }
}

/// A step on record in a store.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) version: u32,
    pub(crate) checksum: String,
    pub(crate) usable_from: u32,
}

/// Holds every step on record against ours; the newest one on record.
///
/// # Errors
///
/// [`Error::is_version`] when a step says that this program is too old for it, or was made by other SQL than ours.
pub(crate) fn newest(ours: &[Migration], applied: &[Applied]) -> Result<Option<u32>, Error> {
    for step in applied {
        check(ours, step)?;
    }
    Ok(applied.iter().map(|step| step.version).max())
}

fn check(ours: &[Migration], found: &Applied) -> Result<(), Error> {
    let newest = ours.last().map_or(0, |migration| migration.version);
    match ours.iter().find(|migration| migration.version == found.version) {
        Some(known) if known.checksum() == found.checksum => Ok(()),
        Some(known) => Err(Error::new(
            Area::Version,
            format!("migration {} ({}) of the store", known.version, known.name),
            "it was made by other SQL than this program's",
            "use the taskwright that made it; never edit a migration that has been applied",
        )),
        None if found.version > newest && found.usable_from <= newest => Ok(()),
        None => Err(Error::new(
            Area::Version,
            format!("the store of schema version {}", found.version),
            format!(
                "it can be used by programs for version {} or later, and this one is for version {newest}",
                found.usable_from
            ),
            "use the newer taskwright that migrated it, or restore a backup from before",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[Migration] = &[
        Migration { version: 1, name: "first", usable_from: 1, sql: "SELECT 1" },
        Migration { version: 2, name: "second", usable_from: 1, sql: "SELECT 2" },
    ];

    fn ours() -> Vec<Applied> {
        let on_record = |step: &Migration| Applied {
            version: step.version,
            checksum: step.checksum(),
            usable_from: step.usable_from,
        };
        OURS.iter().map(on_record).collect()
    }

    fn with(version: u32, usable_from: u32) -> Result<Option<u32>, Error> {
        let mut applied = ours();
        applied.push(Applied { version, checksum: "unknown".to_owned(), usable_from });
        newest(OURS, &applied)
    }

    #[test]
    fn steps_that_are_ours_are_fine() {
        assert_eq!(newest(OURS, &[]).unwrap(), None);
        assert_eq!(newest(OURS, &ours()[..1]).unwrap(), Some(1));
        assert_eq!(newest(OURS, &ours()).unwrap(), Some(2));
    }

    #[test]
    fn a_newer_step_that_leaves_us_in_use_is_fine() {
        assert_eq!(with(3, 2).unwrap(), Some(3));
        assert_eq!(with(3, 1).unwrap(), Some(3));
    }

    #[test]
    fn a_newer_step_that_needs_a_newer_program_is_refused() {
        let error = with(3, 3).unwrap_err();
        assert!(error.is_version(), "{error}");
        assert!(error.why().contains("version 3 or later") && error.why().contains("version 2"), "{error}");
    }

    #[test]
    fn one_newer_step_that_shuts_us_out_is_enough() {
        let mut applied = ours();
        applied.push(Applied { version: 3, checksum: "unknown".to_owned(), usable_from: 3 });
        applied.push(Applied { version: 4, checksum: "unknown".to_owned(), usable_from: 2 });
        assert!(newest(OURS, &applied).unwrap_err().is_version());
    }

    #[test]
    fn a_step_of_ours_that_was_edited_is_refused() {
        let mut applied = ours();
        applied[0].checksum = "other".to_owned();
        assert!(newest(OURS, &applied).unwrap_err().is_version());
    }

    #[test]
    fn a_step_before_ours_that_we_never_had_is_refused() {
        assert!(with(0, 0).unwrap_err().is_version());
    }
}
