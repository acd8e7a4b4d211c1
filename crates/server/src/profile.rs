//! Profiles: servers that this user asks, by name, with the tokens for them. They are in a file of the user's own,
//! `taskwright/profiles.toml` in `$XDG_CONFIG_HOME` (or `~/.config`), which nobody else may read.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taskwright_core::Namespace;

use crate::error::{Error, in_words, nearest};

/// What others may do with the file.
const OTHERS: u32 = 0o077;
/// The largest file that is read: 1 MiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// One server, and who asks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Its URL.
    pub(crate) server: String,
    /// The token, if it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// The namespace that is meant unless another is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<Namespace>,
    /// The authority that has signed its certificate, if the machine does not know it: a file in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

impl std::fmt::Debug for Profile {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profile({})", crate::text::without_secrets(&self.server))
    }
}

/// The profiles of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The one that is used when nothing else is named.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub(crate) in_use: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// Where the file is; `None` for a user without a home.
pub(crate) fn path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("taskwright/profiles.toml"))
}

/// Checks a name.
///
/// # Errors
///
/// When it is empty, too long, or has something else in it than letters, digits, `-`, `_` and `.`.
pub(crate) fn name(text: &str) -> Result<String, Error> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(is_good) {
        return Err(Error::usage(
            format!("the profile {:?}", taskwright_core::name::shown(text)),
            "a name has 1 to 64 letters, digits, `-`, `_` and `.`",
            "choose a name like work",
        ));
    }
    Ok(text.to_owned())
}

/// Profiles as they were read, by whomever they may have been read or written besides.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What the file says.
    pub(crate) profiles: Profiles,
    /// Why nobody is to be asked by it.
    pub(crate) doubt: Option<Error>,
}

impl Seen {
    /// The profiles, to ask somebody by them.
    ///
    /// # Errors
    ///
    /// When others may read the file, or it belongs to another user.
    pub(crate) fn trusted(self) -> Result<Profiles, Error> {
        match self.doubt {
            Some(doubt) => Err(doubt),
            None => Ok(self.profiles),
        }
    }
}

impl Profiles {
    /// Reads them, to ask somebody by them; none where there is no file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or understood, and when others may read it.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        Self::look(path)?.trusted()
    }

    /// Reads them, to see which there are.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or understood.
    pub(crate) fn look(path: &Path) -> Result<Seen, Error> {
        let subject = format!("the profiles in {}", path.display());
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Seen { profiles: Self::default(), doubt: None });
            }
            opened => opened.map_err(|error| cannot(&subject, &error))?,
        };
        // Of the file that is read, and not of one that has its name a moment later.
        let facts = file.metadata().map_err(|error| cannot(&subject, &error))?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| cannot(&subject, &error))?;
        let profiles: Self = toml::from_str(&text).map_err(|error: toml::de::Error| {
            // The message alone: the line may hold a token.
            Error::operational(
                &*subject,
                error.message(),
                "mend the file, or remove it and add the profiles again",
            )
        })?;
        let has_tokens = profiles.profiles.values().any(|profile| profile.token.is_some());
        let doubt = if facts.uid() != rustix::process::geteuid().as_raw() {
            Some(Error::operational(
                subject,
                "the file belongs to another user, who might have put any server into it",
                "remove it, and add the profiles again: taskwright profiles add NAME --server URL",
            ))
        } else if facts.mode() & OTHERS != 0 {
            let tokens = if has_tokens { ", and there are tokens in it" } else { "" };
            let leaked = if has_tokens { "; whoever has read a token can use it: make others" } else { "" };
            Some(Error::operational(
                subject,
                format!("others may read it (mode {:o}){tokens}", facts.mode() & 0o777),
                format!("close it with `chmod 600 {}`{leaked}", path.display()),
            ))
        } else {
            None
        };
        Ok(Seen { profiles, doubt })
    }

    /// Writes them, so that the file is there whole or as before, for nobody else to read.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        let subject = format!("writing {}", path.display());
        let text = toml::to_string(self)
            .map_err(|error| Error::operational(&*subject, error.to_string(), "please report it"))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let new = directory.join(format!(".profiles.{}", std::process::id()));
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        write().map_err(|error| {
            // It may not even be there.
            let _ = std::fs::remove_file(&new);
            cannot(&subject, &error)
        })
    }

    /// The one of that name.
    ///
    /// # Errors
    ///
    /// When there is none; the nearest is named.
    pub(crate) fn get(&self, name: &str) -> Result<&Profile, Error> {
        self.profiles.get(name).ok_or_else(|| {
            let meant = nearest(name, self.profiles.keys().map(String::as_str));
            let fix = match meant {
                Some(meant) => format!("is `{meant}` meant? see them with `taskwright profiles list`"),
                None => "see them with `taskwright profiles list`, add one with `taskwright profiles add`"
                    .to_owned(),
            };
            let shown = taskwright_core::name::shown(name);
            Error::usage(format!("the profile {shown:?}"), "there is no such profile", fix)
        })
    }
}

fn cannot(subject: &str, error: &std::io::Error) -> Error {
    Error::operational(subject, in_words(error), "check the path and the rights of this user")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn profiles() -> Profiles {
        let work = Profile {
            server: "https://jobs.example:7411".to_owned(),
            token: Some("tw_secret".to_owned()),
            namespace: Some(Namespace::new("shop").unwrap()),
            ca: None,
        };
        Profiles { in_use: Some("work".to_owned()), profiles: [("work".to_owned(), work)].into() }
    }

    #[test]
    fn they_are_written_for_nobody_else_and_read_again() {
        let site = tempfile::tempdir().unwrap();
        let path = site.path().join("a/taskwright/profiles.toml");
        assert_eq!(Profiles::load(&path).unwrap(), Profiles::default());
        profiles().save(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(Profiles::load(&path).unwrap(), profiles());
        assert!(!format!("{:?}", profiles()).contains("secret"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        let site = tempfile::tempdir().unwrap();
        let path = site.path().join("profiles.toml");
        profiles().save(&path).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Profiles::load(&path).unwrap_err().to_string();
            assert!(error.contains("others may read") && error.contains("chmod 600"), "{error}");
            assert!(error.contains("there are tokens in it"), "{error}");
            // What there is may be seen, and taken out of it.
            let seen = Profiles::look(&path).unwrap();
            assert!(seen.profiles == profiles() && seen.doubt.is_some());
        }
    }

    #[test]
    fn a_broken_file_is_told_without_what_is_in_it() {
        let site = tempfile::tempdir().unwrap();
        let path = site.path().join("profiles.toml");
        for text in ["[profiles.a]\nserver = \"x\"\ntokn = \"tw_secret\"\n", "token = tw_secret\n"] {
            profiles().save(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            let error = Profiles::load(&path).unwrap_err().to_string();
            assert!(error.contains("mend the file") && !error.contains("tw_secret"), "{error}");
        }
    }

    #[test]
    fn names_are_plain_and_the_nearest_is_named() {
        for bad in ["", "a b", "a/b", "ä"] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert_eq!(name("work-2.x").unwrap(), "work-2.x");
        assert!(profiles().get("wrok").unwrap_err().to_string().contains("is `work` meant?"));
    }
}
