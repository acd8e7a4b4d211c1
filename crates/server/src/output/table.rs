//! Tables: fitted to a terminal by leaving out the least important columns; whole and plain in a pipe.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Width};

use super::Paint;

/// One column of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    /// 0 is never left out; the highest goes first.
    rank: u8,
    /// The narrowest it may be cut to, for a column whose text may be cut.
    cut_to: Option<usize>,
    right: bool,
}

impl Column {
    /// A column that is shown whole or not at all; the highest rank is left out first, 0 never.
    pub(crate) const fn new(title: &'static str, rank: u8) -> Self {
        Self { title, rank, cut_to: None, right: false }
    }

    /// The same column with its text cut where the room ends.
    pub(crate) const fn cut(self) -> Self {
        self.cut_to(12)
    }

    /// The same, with at least so many characters of its text.
    pub(crate) const fn cut_to(self, least: usize) -> Self {
        Self { cut_to: Some(least), ..self }
    }

    /// The same column for numbers.
    pub(crate) const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// Rows of text in columns. Its pages may be rendered one after the other: the header comes once, and columns keep
/// the width they have had.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Paint)>>,
    widths: Vec<usize>,
    headed: bool,
}

/// Between two columns.
const GAP: usize = 2;

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Self { columns: columns.to_vec(), rows: Vec::new(), widths, headed: false }
    }

    /// Adds a row; as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<(String, Paint)>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has one cell for each column");
        for (width, (text, _)) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(text.chars().count());
        }
        self.rows.push(cells);
    }

    /// Whether no row waits to be rendered.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Turns the rows that wait into text, and forgets them.
    pub(crate) fn render(&mut self, width: Option<u16>, colors: bool) -> String {
        let shown = self.fitting(width.map(usize::from));
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).force_no_tty();
        if colors {
            table.enforce_styling();
        }
        match width {
            Some(width) => {
                table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        let widths = self.shares(&shown, width.map(usize::from));
        if !std::mem::replace(&mut self.headed, true) {
            let titles = shown.iter().map(|&index| {
                styled(self.columns[index].title.to_uppercase(), Paint::Faint, self.columns[index])
            });
            table.set_header(titles.collect::<Vec<_>>());
        }
        for cells in self.rows.drain(..) {
            let cells = shown.iter().zip(&widths).map(|(&index, &width)| {
                let (text, paint) = &cells[index];
                styled(cut(text, width), *paint, self.columns[index])
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        for (at, width) in widths.into_iter().enumerate() {
            let Some(column) = table.column_mut(at) else { continue };
            let gap = fit(if at + 1 == shown.len() { 0 } else { GAP });
            column.set_padding((0, gap));
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(fit(width).saturating_add(gap))));
        }
        let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        text.concat()
    }

    /// The columns that have room, in their order.
    fn fitting(&self, room: Option<usize>) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(room) = room else { return shown };
        while self.needed(&shown) > room {
            let Some(at) = (0..shown.len()).max_by_key(|&at| self.columns[shown[at]].rank) else { break };
            if self.columns[shown[at]].rank == 0 {
                break;
            }
            shown.remove(at);
        }
        shown
    }

    fn needed(&self, shown: &[usize]) -> usize {
        let narrowest = |&index: &usize| {
            let cut_to = self.columns[index].cut_to.unwrap_or(usize::MAX);
            self.widths[index].min(cut_to.max(self.columns[index].title.len())) + GAP
        };
        shown.iter().map(narrowest).sum::<usize>().saturating_sub(GAP)
    }

    /// Gives every column its width: whole ones what they need, cut ones a share of what is left.
    fn shares(&self, shown: &[usize], room: Option<usize>) -> Vec<usize> {
        let spare = room.map_or(usize::MAX, |room| room.saturating_sub(self.needed(shown)));
        let cuttable = shown.iter().filter(|&&index| self.columns[index].cut_to.is_some()).count().max(1);
        let share = |&index: &usize| {
            let whole = self.widths[index];
            match self.columns[index].cut_to {
                Some(least) if room.is_some() => {
                    let least = least.max(self.columns[index].title.len());
                    whole.min(least.saturating_add(spare / cuttable))
                }
                _ => whole,
            }
        };
        shown.iter().map(share).collect()
    }
}

/// The start of a text that is too long, with a mark.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn fit(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn styled(text: String, paint: Paint, column: Column) -> Cell {
    let cell = Cell::new_owned(text);
    let cell = if column.right { cell.set_alignment(comfy_table::CellAlignment::Right) } else { cell };
    match paint {
        Paint::Plain => cell,
        Paint::Strong => cell.add_attribute(Attribute::Bold),
        Paint::Faint => cell.add_attribute(Attribute::Dim),
        Paint::Good => cell.fg(Color::DarkGreen),
        Paint::Bad => cell.fg(Color::DarkRed),
        Paint::Warn => cell.fg(Color::DarkYellow),
        Paint::Busy => cell.fg(Color::DarkCyan),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = [
            Column::new("id", 0),
            Column::new("queue", 3),
            Column::new("tries", 2).right(),
            Column::new("error", 1).cut(),
        ];
        let mut table = Table::new(&columns);
        let plain = |text: &str| (text.to_owned(), Paint::Plain);
        table.row(vec![
            ("0123456789".to_owned(), Paint::Good),
            plain("default"),
            plain("1/5"),
            plain("connection refused by host"),
        ]);
        table.row(vec![plain("x"), plain("q"), plain("12/15"), plain("")]);
        table
    }

    #[test]
    fn a_pipe_gets_every_column_whole_and_no_escape() {
        assert_eq!(
            table().render(None, false),
            "ID          QUEUE    TRIES  ERROR\n\
             0123456789  default    1/5  connection refused by host\n\
             x           q        12/15\n"
        );
    }

    #[test]
    fn a_narrow_terminal_loses_the_least_important_column_and_cuts_text_but_never_wraps() {
        assert_eq!(
            table().render(Some(34), false),
            "ID          TRIES  ERROR\n0123456789    1/5  connection ref…\nx           12/15\n"
        );
        assert_eq!(table().render(Some(5), false).lines().next(), Some("ID"));
    }

    #[test]
    fn later_pages_keep_the_columns_and_have_no_header() {
        let mut table = table();
        table.render(None, false);
        table.row(["a", "b", "c", "d"].map(|text| (text.to_owned(), Paint::Plain)).to_vec());
        assert_eq!(table.render(None, false), "a           b            c  d\n");
    }

    #[test]
    fn colours_appear_only_when_asked_for() {
        assert!(table().render(None, true).contains('\u{1b}'));
        assert!(!table().render(Some(80), false).contains('\u{1b}'));
    }
}
