//! What is on the screen of `rob top`, and what each key does.
//!
//! Owns the tabs, the order and choice of rows, and the pause. It draws nothing, reads no clock and asks nobody. Called by `live`.

use super::rows::{self, Column, Row};
use super::sample::Sample;
use clap::ValueEnum;

/// From this width on the columns of less interest are shown, too.
pub(super) const WIDE: u16 = 120;

/// One table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tab {
    /// What is called.
    Objects,
    /// What is heard.
    Topics,
    /// Who is there.
    Connections,
    /// What waits.
    Queues,
}

impl Tab {
    /// In their order on the screen.
    pub(super) const ALL: [Self; 4] = [Self::Objects, Self::Topics, Self::Connections, Self::Queues];

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Objects => "Objects",
            Self::Topics => "Topics",
            Self::Connections => "Connections",
            Self::Queues => "Queues",
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or_default()
    }

    fn moved(self, by: usize) -> Self {
        let all = Self::ALL.len();
        Self::ALL
            .get(self.index().saturating_add(by) % all)
            .copied()
            .unwrap_or(self)
    }
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Of a letter or another sign.
    Char(char),
    /// Ctrl+c.
    Interrupt,
    /// Ctrl+z.
    Suspend,
    /// Return.
    Enter,
    /// Esc.
    Escape,
    /// Takes a letter back.
    Backspace,
    /// By rows: down is positive.
    Rows(i32),
    /// By screens: down is positive.
    Pages(i32),
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// To the tab before.
    Left,
    /// To the tab behind.
    Right,
}

/// What a key asks of who owns the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To show what is different now.
    Draw,
    /// To end.
    Quit,
    /// To end as ctrl+c ends a program.
    Interrupted,
    /// To stop until the shell lets it go on.
    Suspended,
}

/// In which order the rows of a tab are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    /// By this column.
    pub(super) column: usize,
    /// The largest first, or the last of the alphabet.
    pub(super) descending: bool,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct View {
    /// The table.
    pub(super) tab: Tab,
    sorts: [Sort; Tab::ALL.len()],
    /// Only rows that have this in them.
    pub(super) filter: String,
    /// The filter is being written.
    pub(super) editing: bool,
    /// Samples are not taken over.
    pub(super) paused: bool,
    /// The keys are shown.
    pub(super) help: bool,
    /// The row that is marked.
    pub(super) selected: usize,
    /// Columns of the terminal.
    pub(super) width: u16,
    /// Rows of the table that fit.
    pub(super) page: u16,
    /// What is shown.
    pub(super) sample: Sample,
    /// Why there is nothing newer.
    pub(super) trouble: Option<String>,
}

impl View {
    /// The first screen.
    pub(super) fn new(tab: Tab, sample: Sample) -> Self {
        let most = |tab: &Tab| Sort {
            column: rows::first_sort(*tab),
            descending: true,
        };
        Self {
            tab,
            sorts: Tab::ALL.each_ref().map(most),
            filter: String::new(),
            editing: false,
            paused: false,
            help: false,
            selected: 0,
            width: 80,
            page: 1,
            sample,
            trouble: None,
        }
    }

    /// A new sample.
    pub(super) fn show(&mut self, sample: Sample) {
        self.trouble = None;
        if !self.paused {
            self.sample = sample;
        }
        self.keep_selection();
    }

    /// The order of the tab that is shown.
    pub(super) fn sort(&self) -> Sort {
        let sort = self.sorts.get(self.tab.index()).copied();
        sort.unwrap_or(Sort {
            column: 0,
            descending: false,
        })
    }

    /// The columns that fit.
    pub(super) fn columns(&self) -> Vec<(usize, &'static Column)> {
        let all = rows::columns(self.tab).iter().enumerate();
        all.filter(|(_, column)| !column.wide || self.width >= WIDE)
            .collect()
    }

    /// The rows that are chosen, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let wanted = self.filter.to_lowercase();
        let mut rows = rows::rows(self.tab, &self.sample);
        rows.retain(|row| {
            wanted.is_empty()
                || row
                    .cells
                    .iter()
                    .any(|cell| cell.text.to_lowercase().contains(&wanted))
        });
        let sort = self.sort();
        rows.sort_by(|a, b| {
            let ordered = rows::compare(a, b, sort.column);
            let ordered = if sort.descending {
                ordered.reverse()
            } else {
                ordered
            };
            // What is equal stays where it is.
            ordered.then_with(|| a.key.cmp(&b.key))
        });
        rows
    }

    /// How many rows a tab has, all of them.
    pub(super) fn count(&self, tab: Tab) -> usize {
        match tab {
            Tab::Objects => self.sample.objects.len(),
            Tab::Topics => self.sample.topics.len(),
            Tab::Connections | Tab::Queues => self.sample.connections.len(),
        }
    }

    /// Rows that the broker has beyond those of the tab.
    pub(super) const fn left_out(&self) -> u64 {
        let left_out = &self.sample.left_out;
        match self.tab {
            Tab::Objects => left_out.objects,
            Tab::Topics => left_out.topics,
            Tab::Connections | Tab::Queues => left_out.connections,
        }
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: Key) -> Asked {
        if key == Key::Interrupt {
            return Asked::Interrupted;
        }
        if key == Key::Suspend {
            return Asked::Suspended;
        }
        if self.editing {
            self.edit(key);
        } else if self.help {
            // Any key leaves it.
            self.help = false;
        } else if let Some(asked) = self.command(key) {
            return asked;
        }
        self.keep_selection();
        Asked::Draw
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Char(letter) => self.filter.push(letter),
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.editing = false,
            Key::Escape => {
                self.filter.clear();
                self.editing = false;
            }
            _ => {}
        }
    }

    fn command(&mut self, key: Key) -> Option<Asked> {
        match key {
            Key::Escape if !self.filter.is_empty() => self.filter.clear(),
            Key::Char('q') | Key::Escape => return Some(Asked::Quit),
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('/') => self.editing = true,
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Char('r') => self.change_sort(|sort, _| sort.descending = !sort.descending),
            Key::Char('s' | '>') => {
                self.change_sort(|sort, columns| sort.column = beside(columns, sort.column, 1))
            }
            Key::Char('S' | '<') => self.change_sort(|sort, columns| {
                sort.column = beside(columns, sort.column, columns.len().saturating_sub(1));
            }),
            Key::Char('j') => self.step(1),
            Key::Char('k') => self.step(-1),
            Key::Char(digit) => {
                let index = digit
                    .to_digit(10)
                    .and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
                if let Some(tab) = index.and_then(|index| Tab::ALL.get(index)) {
                    self.turn_to(*tab);
                }
            }
            Key::Rows(by) => self.step(by),
            Key::Pages(by) => self.step(by.saturating_mul(i32::from(self.page.max(1)))),
            Key::Home => self.selected = 0,
            Key::End => self.selected = usize::MAX,
            Key::Left => self.turn_to(self.tab.moved(Tab::ALL.len().saturating_sub(1))),
            Key::Right => self.turn_to(self.tab.moved(1)),
            Key::Enter | Key::Backspace | Key::Interrupt | Key::Suspend => {}
        }
        None
    }

    fn turn_to(&mut self, tab: Tab) {
        self.tab = tab;
        self.selected = 0;
    }

    fn change_sort(&mut self, change: impl FnOnce(&mut Sort, &[usize])) {
        let columns: Vec<usize> = self.columns().into_iter().map(|(index, _)| index).collect();
        if let Some(sort) = self.sorts.get_mut(self.tab.index()) {
            change(sort, &columns);
        }
    }

    fn step(&mut self, by: i32) {
        let rows = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
        self.selected = if by < 0 {
            self.selected.saturating_sub(rows)
        } else {
            self.selected.saturating_add(rows)
        };
    }

    fn keep_selection(&mut self) {
        let last = self.rows().len().saturating_sub(1);
        self.selected = self.selected.min(last);
    }
}

/// The column so many places behind one that fits, around the end.
fn beside(columns: &[usize], column: usize, by: usize) -> usize {
    let place = columns
        .iter()
        .position(|index| *index == column)
        .unwrap_or_default();
    let place = place
        .saturating_add(by)
        .checked_rem(columns.len())
        .unwrap_or_default();
    columns.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::rates::Pace;
    use crate::observe::shape::Object;

    fn sample(objects: &[(&str, u64, f64)]) -> Sample {
        let object = |(name, calls, rate): &(&str, u64, f64)| {
            let object = Object {
                name: (*name).into(),
                calls: *calls,
                ..Object::default()
            };
            let pace = Pace {
                calls: *rate,
                ..Pace::default()
            };
            (object, pace)
        };
        Sample {
            objects: objects.iter().map(object).collect(),
            ..Sample::default()
        }
    }

    fn names(view: &View) -> Vec<String> {
        view.rows()
            .into_iter()
            .map(|row| row.cells[0].text.clone())
            .collect()
    }

    fn view() -> View {
        View::new(
            Tab::Objects,
            sample(&[("math", 10, 1.0), ("Calc", 500, 0.0), ("log", 3, 9.0)]),
        )
    }

    #[test]
    fn the_busiest_is_first_and_the_order_can_be_chosen() {
        let mut view = view();
        assert_eq!(names(&view), ["log", "math", "Calc"], "by calls a second");
        view.key(Key::Char('r'));
        assert_eq!(names(&view), ["Calc", "math", "log"]);
        view.key(Key::Char('r'));
        view.key(Key::Char('s'));
        assert_eq!(names(&view), ["Calc", "math", "log"], "by all calls");
        view.key(Key::Char('S'));
        view.key(Key::Char('S'));
        assert_eq!(names(&view), ["math", "log", "Calc"], "by name, the last first");
        view.key(Key::Char('S'));
        assert_eq!(
            view.sort().column,
            view.columns().last().unwrap().0,
            "around the end"
        );
    }

    #[test]
    fn a_filter_is_written_kept_and_cleared() {
        let mut view = view();
        for key in "/cQ"
            .chars()
            .map(Key::Char)
            .chain([Key::Backspace, Key::Char('A'), Key::Enter])
        {
            assert_eq!(view.key(key), Asked::Draw);
        }
        assert_eq!(
            (names(&view), view.filter.as_str()),
            (vec!["Calc".to_owned()], "cA")
        );
        assert_eq!(view.key(Key::Char('q')), Asked::Quit);
        assert_eq!(view.key(Key::Escape), Asked::Draw, "it leaves the filter first");
        assert_eq!(names(&view).len(), 3);
        view.key(Key::Char('/'));
        view.key(Key::Char('x'));
        view.key(Key::Escape);
        assert_eq!((names(&view).len(), view.editing), (3, false));
        assert_eq!(view.key(Key::Escape), Asked::Quit);
    }

    #[test]
    fn a_pause_keeps_what_is_shown() {
        let mut view = view();
        view.key(Key::Char(' '));
        view.show(sample(&[("new", 1, 1.0)]));
        assert_eq!(names(&view).len(), 3);
        view.key(Key::Char('p'));
        view.show(sample(&[("new", 1, 1.0)]));
        assert_eq!(names(&view), ["new"]);
    }

    #[test]
    fn tabs_go_around_and_rows_have_ends() {
        let mut view = view();
        for (key, tab) in [
            (Key::Left, Tab::Queues),
            (Key::Right, Tab::Objects),
            (Key::Char('3'), Tab::Connections),
            (Key::Char('9'), Tab::Connections),
            (Key::Char('0'), Tab::Connections),
            (Key::Char('1'), Tab::Objects),
        ] {
            view.key(key);
            assert_eq!(view.tab, tab, "{key:?}");
        }
        for (key, selected) in [
            (Key::Rows(-1), 0),
            (Key::Char('j'), 1),
            (Key::End, 2),
            (Key::Pages(1), 2),
            (Key::Char('k'), 1),
            (Key::Home, 0),
        ] {
            view.key(key);
            assert_eq!(view.selected, selected, "{key:?}");
        }
        view.key(Key::End);
        view.show(sample(&[]));
        assert_eq!(view.selected, 0);
    }

    #[test]
    fn help_is_left_with_any_key_and_ctrl_c_always_ends() {
        let mut view = view();
        view.key(Key::Char('?'));
        assert!(view.help);
        assert_eq!(view.key(Key::Char('q')), Asked::Draw);
        assert!(!view.help);
        view.key(Key::Char('/'));
        assert_eq!(view.key(Key::Interrupt), Asked::Interrupted);
        view.key(Key::Escape);
        assert_eq!(view.key(Key::Escape), Asked::Quit);
    }

    #[test]
    fn narrow_screens_have_the_columns_that_matter() {
        let mut view = view();
        for tab in Tab::ALL {
            view.tab = tab;
            (view.width, view.filter) = (80, String::new());
            let fixed: u16 = view
                .columns()
                .iter()
                .map(|(_, column)| column.width.saturating_add(1))
                .sum();
            assert!(fixed <= 80, "{tab:?}: {fixed}");
            let narrow = view.columns().len();
            view.width = WIDE;
            let fixed: u16 = view
                .columns()
                .iter()
                .map(|(_, column)| column.width.saturating_add(1))
                .sum();
            assert!(fixed <= WIDE && view.columns().len() > narrow, "{tab:?}: {fixed}");
        }
    }
}
