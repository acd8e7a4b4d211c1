//! Files that generators remember.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::file::{FileMark, FileWrite, KnownFile};
use crate::generator::GeneratorKey;

/// All remembered files, by their paths.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<(GeneratorKey, String), KnownFile>);

impl Files {
    pub(super) fn of(&self, generator: GeneratorKey, path: String) -> Option<KnownFile> {
        self.0.get(&(generator, path)).copied()
    }

    pub(super) fn page(
        &self,
        generator: GeneratorKey,
        after: Option<String>,
        limit: usize,
    ) -> Vec<(String, KnownFile)> {
        let from = match after {
            Some(after) => Bound::Excluded((generator, after)),
            None => Bound::Included((generator, String::new())),
        };
        let mine = self.0.range((from, Bound::Unbounded)).take_while(|((of, _), _)| *of == generator);
        mine.take(limit).map(|((_, path), file)| (path.clone(), *file)).collect()
    }

    pub(super) fn write(&mut self, generator: GeneratorKey, write: &FileWrite) {
        match write {
            FileWrite::Remember(files) => {
                files.iter().for_each(|(path, mark)| self.remember(generator, path, *mark));
            }
            FileWrite::Close(paths) => {
                for path in paths {
                    if let Some(file) = self.0.get_mut(&(generator, path.clone())) {
                        file.open = false;
                    }
                }
            }
            FileWrite::Forget(paths) => {
                for path in paths {
                    self.0.remove(&(generator, path.clone()));
                }
            }
        }
    }

    fn remember(&mut self, generator: GeneratorKey, path: &str, mark: FileMark) {
        self.0.insert((generator, path.to_owned()), KnownFile { mark, open: true });
    }

    pub(super) fn forget_all(&mut self, generator: GeneratorKey) {
        self.0.retain(|(of, _), _| *of != generator);
    }
}
