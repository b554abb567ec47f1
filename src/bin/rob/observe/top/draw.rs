//! The screen of `rob top`, drawn.
//!
//! Owns where everything stands and what is set off. All texts are safe when they come here: `rows` and the headings escape what peers
//! chose. Called by `live`.

use super::rows::{Column, Row};
use super::view::{Tab, View};
use crate::observe::words::{Side, age, bytes, count, cut, known, rate, safe};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap};

/// The keys, as help shows them.
const HELP: &[(&str, &str)] = &[
    ("1 2 3 4, ← →, Tab", "objects, topics, connections, queues"),
    ("↑ ↓ PgUp PgDn Home End", "move; j and k as well"),
    ("s S", "sort by the next or previous column"),
    ("r", "reverse the order"),
    ("/", "only rows with this text; Enter keeps it"),
    ("p, Space", "pause and go on"),
    ("? h", "this help"),
    ("q, Esc, ctrl+c", "quit; Esc leaves a filter first"),
    ("ctrl+z", "suspend; fg goes on"),
];

/// Below these a table says nothing any more.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 8;
/// What a column of names has at least.
const GROWING_MIN: u16 = 8;
/// From this width on the last line has all keys.
const FOOT_WIDTH: u16 = 64;

/// How things are set off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    /// Colours may be used; without them what matters is bold or reversed.
    pub(super) colours: bool,
}

impl Looks {
    fn tinted(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn title(self) -> Style {
        self.tinted(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn alarm(self) -> Style {
        self.tinted(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn quiet(self) -> Style {
        self.tinted(Color::DarkGray)
    }
}

/// Draws everything, and notes how much room there is.
pub(super) fn screen(frame: &mut Frame<'_>, view: &mut View, looks: Looks) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!("rob top: too small, {WIDTH_MIN}×{HEIGHT_MIN} at least");
        return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    }
    let parts = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(1),
    ]);
    let [heading, tabs, table, foot] = parts.areas(area);
    view.width = area.width;
    view.page = table.height.saturating_sub(1);
    frame.render_widget(Paragraph::new(figures(view, looks)), heading);
    frame.render_widget(Paragraph::new(tab_line(view, looks)), tabs);
    draw_table(frame, view, looks, table);
    frame.render_widget(Paragraph::new(foot_line(view, looks)), foot);
    if view.help {
        draw_help(frame, looks, area);
    }
}

fn figures(view: &View, looks: Looks) -> Vec<Line<'static>> {
    let (sample, status, rates) = (&view.sample, &view.sample.status, &view.sample.rates);
    let over = if sample.since_start {
        "rates since its start".to_owned()
    } else {
        format!("rates over {:.1} s", rates.over.as_secs_f64())
    };
    let mut first = vec![
        Span::styled("rob top", looks.title()),
        Span::raw(format!(
            "  broker {}  pid {}  up {}  {over}",
            safe(&status.version),
            known(status.pid),
            age(status.uptime_ms)
        )),
    ];
    if view.paused {
        first.push(Span::styled("  PAUSED", looks.alarm()));
    }
    let label = |text: &'static str| Span::styled(text, looks.quiet());
    let calls = format!(
        "{}/s  total {}  errors {}  open {}",
        rate(rates.calls),
        count(status.calls()),
        count(status.errors()),
        count(status.totals.open)
    );
    let events = format!(
        "{}/s in  {}/s out  missed {}  total {} in  {} out",
        rate(rates.events_in),
        rate(rates.events_out),
        count(status.metric("events_missed")),
        count(status.metric("events_published")),
        count(status.metric("events_delivered"))
    );
    let through = format!(
        "{}/s read  {}/s written  unheard {}  subs {}",
        bytes(rates.bytes_in.round() as u64),
        bytes(rates.bytes_out.round() as u64),
        count(sample.unheard),
        count(status.totals.subscriptions)
    );
    let restarts = match status.restarted() {
        0 => Span::raw(""),
        times => Span::styled(format!("  restarts {}", count(times)), looks.alarm()),
    };
    vec![
        Line::from(first),
        Line::from(vec![label("calls   "), Span::raw(calls), restarts]),
        Line::from(vec![label("events  "), Span::raw(events)]),
        Line::from(vec![label("bytes   "), Span::raw(through)]),
    ]
}

fn tab_line(view: &View, looks: Looks) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, tab) in (1..).zip(Tab::ALL) {
        let text = format!(" {index} {} {} ", tab.title(), view.count(tab));
        let style = if tab == view.tab {
            looks.title().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        spans.extend([Span::styled(text, style), Span::raw(" ")]);
    }
    if !view.filter.is_empty() {
        spans.push(Span::styled(
            format!("filter: {}", safe(&view.filter)),
            looks.tinted(Color::Yellow),
        ));
    }
    if view.left_out() > 0 {
        let beside = match view.filter.is_empty() {
            true => "left out",
            false => "not searched",
        };
        let text = format!("  {} more {beside}", count(view.left_out()));
        spans.push(Span::styled(text, looks.quiet()));
    }
    Line::from(spans)
}

fn draw_table(frame: &mut Frame<'_>, view: &View, looks: Looks, area: Rect) {
    let columns = view.columns();
    let sort = view.sort();
    let headings = columns.iter().map(|(index, column)| {
        let arrow = match (*index == sort.column, sort.descending) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        cell(&format!("{}{arrow}", column.heading), column)
    });
    let heading = TableRow::new(headings).style(looks.quiet().add_modifier(Modifier::BOLD));
    let fixed: u16 = columns
        .iter()
        .map(|(_, column)| {
            if column.grows {
                1
            } else {
                column.width.saturating_add(1)
            }
        })
        .sum();
    let left = area.width.saturating_sub(fixed);
    let widths = columns.iter().map(|(_, column)| match column.grows {
        true => Constraint::Length(left.max(GROWING_MIN)),
        false => Constraint::Length(column.width),
    });
    let widths: Vec<Constraint> = widths.collect();
    let rows = view.rows();
    let shown = rows.iter().map(|row| table_row(row, &columns, looks, left));
    let table = Table::new(shown, widths)
        .header(heading)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    if rows.is_empty() && area.height > 2 {
        let [_, below] = Layout::vertical([Constraint::Length(2), Constraint::Min(1)]).areas(area);
        frame.render_widget(Paragraph::new(Line::styled(nothing(view), looks.quiet())), below);
    }
    let selected = (!rows.is_empty()).then_some(view.selected);
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

/// Why a table is empty.
fn nothing(view: &View) -> String {
    match (view.filter.as_str(), view.tab) {
        ("", Tab::Objects) => "  nobody has registered an object".to_owned(),
        ("", Tab::Topics) => "  nobody has subscribed to anything".to_owned(),
        ("", _) => "  nobody is connected".to_owned(),
        (filter, _) => format!("  no row has {}", safe(filter)),
    }
}

fn table_row(row: &Row, columns: &[(usize, &'static Column)], looks: Looks, left: u16) -> TableRow<'static> {
    let cells = columns.iter().map(|(index, column)| {
        let text = row.cells.get(*index).map_or("", |cell| cell.text.as_str());
        let width = if column.grows {
            left.max(GROWING_MIN)
        } else {
            column.width
        };
        cell(&cut(text, usize::from(width)), column)
    });
    let style = if row.alarming { looks.alarm() } else { Style::new() };
    TableRow::new(cells.collect::<Vec<_>>()).style(style)
}

fn cell(text: &str, column: &Column) -> Cell<'static> {
    let side = match column.side {
        Side::Left => Alignment::Left,
        Side::Right => Alignment::Right,
    };
    Cell::from(Line::from(text.to_owned()).alignment(side))
}

fn foot_line(view: &View, looks: Looks) -> Line<'static> {
    if view.editing {
        let text = format!(
            "filter: {}_   Enter keeps it, Esc clears it",
            safe_filter(&view.filter)
        );
        return Line::styled(text, looks.tinted(Color::Yellow));
    }
    if let Some(trouble) = &view.trouble {
        return Line::styled(safe(trouble), looks.alarm());
    }
    let keys = match view.width >= FOOT_WIDTH {
        true => "q quit  ←→ tab  s sort  r reverse  / filter  p pause  ? help",
        false => "q quit  ←→ tab  s sort  / filter  ? help",
    };
    Line::styled(keys, looks.quiet())
}

fn safe_filter(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        safe(text)
    }
}

fn draw_help(frame: &mut Frame<'_>, looks: Looks, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<24}"), looks.title()),
                Span::raw(*what),
            ])
        })
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let place = area.centered(Constraint::Max(90), Constraint::Max(height));
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" Keys; any key goes back ");
    frame.render_widget(Paragraph::new(lines).block(block), place);
}
