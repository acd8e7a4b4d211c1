//! `completions`.

use clap::Args;
use clap_complete::Shell;

use super::Context;
use crate::error::{Error, Exit};

/// Prints a completion script.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright completions bash > ~/.local/share/bash-completion/completions/tw
  taskwright completions fish > ~/.config/fish/completions/taskwright.fish")]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "taskwright", &mut script);
        context.output.bytes(&script)?;
        Ok(Exit::Ok)
    }
}
