//! Rows in columns: aligned under a header on a terminal, and as they always were in a pipe

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::style::{END, NAME};

/// What text is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paper {
    /// A pipe or a file: programs read it. Rows are written when they come, without a header, and nothing is ever cut.
    Pipe,
    /// A terminal.
    Screen {
        /// How wide it is.
        columns: usize,
    },
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    align: Align,
    fit: Fit,
    /// In a pipe: what stands before it, how wide it is at least, and what follows.
    before: &'static str,
    piped: usize,
    gap: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// What becomes of a column that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It has to have it.
    Whole,
    /// The end of its cells goes.
    Cut,
    /// They have several lines.
    Wrap,
}

impl Column {
    pub(super) const fn new(title: &'static str) -> Self {
        Self { title, align: Align::Left, fit: Fit::Whole, before: "", piped: 0, gap: "" }
    }

    pub(super) const fn right(self) -> Self {
        Self { align: Align::Right, ..self }
    }

    pub(super) const fn cut(self) -> Self {
        Self { fit: Fit::Cut, ..self }
    }

    pub(super) const fn wrap(self) -> Self {
        Self { fit: Fit::Wrap, ..self }
    }

    /// In a pipe it is at least so wide, and this follows.
    pub(super) const fn piped(self, width: usize, gap: &'static str) -> Self {
        Self { piped: width, gap, ..self }
    }

    /// In a pipe this stands before it, where there is something in it.
    pub(super) const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }
}

/// What is in a column of a row: no control characters, and all of it of one colour.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    colour: &'static str,
}

impl Cell {
    pub(super) fn new(text: impl ToString) -> Self {
        Self { text: text.to_string(), colour: "" }
    }

    pub(super) fn coloured(colour: &'static str, text: impl ToString) -> Self {
        Self { text: text.to_string(), colour }
    }

    /// In its colour; what is added on either side is part of it.
    fn write(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        match self.colour {
            "" => write!(out, "{text}"),
            colour => write!(out, "{colour}{text}{END}"),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, colour: "" }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// What is between columns on a terminal.
const GAP: &str = "  ";
/// Less than that says nothing.
const NARROWEST: usize = 8;
/// Stands for what is cut off.
const CUT: &str = "…";

/// Rows that are written: in a pipe at once, on a terminal all of them at the end.
#[derive(Debug)]
pub(super) struct Table {
    paper: Paper,
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// How wide the columns are, where that is known before the rows are; and whether the header is written.
    streamed: Option<(Vec<usize>, bool)>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    /// What belongs to the last cell, each on a line of its own.
    notes: Vec<String>,
}

impl Table {
    pub(super) fn new(paper: Paper, columns: impl IntoIterator<Item = Column>) -> Self {
        Self { paper, columns: columns.into_iter().collect(), rows: Vec::new(), streamed: None }
    }

    /// One whose rows are written when they come, also on a terminal. Its columns are so wide, and the last one has the rest.
    pub(super) fn streamed<const N: usize>(paper: Paper, columns: [Column; N], widths: [usize; N]) -> Self {
        let mut widths = Vec::from(widths);
        if let (Paper::Screen { columns }, Some(last)) = (paper, widths.pop()) {
            let used = widths
                .iter()
                .fold(0_usize, |sum, width| sum.saturating_add(*width).saturating_add(GAP.len()));
            widths.push(columns.saturating_sub(used).max(last));
        }
        Self { streamed: Some((widths, false)), ..Self::new(paper, columns) }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N], out: &mut dyn Write) -> io::Result<()> {
        let row = Row { cells: cells.into(), notes: Vec::new() };
        match (self.paper, &mut self.streamed) {
            (Paper::Pipe, _) => self.pipe(&row, out),
            (Paper::Screen { .. }, Some((widths, has_header))) => {
                if !std::mem::replace(has_header, true) {
                    write_row(&self.columns, widths, &header(&self.columns), out)?;
                }
                write_row(&self.columns, widths, &row, out)
            }
            (Paper::Screen { .. }, None) => {
                self.rows.push(row);
                Ok(())
            }
        }
    }

    /// Adds what to do about the last row: below its last cell. In a pipe `before` stands before it.
    pub(super) fn note(&mut self, before: &str, note: impl ToString, out: &mut dyn Write) -> io::Result<()> {
        match (self.paper, self.rows.last_mut()) {
            (Paper::Screen { .. }, Some(row)) => {
                row.notes.push(format!("hint: {}", note.to_string()));
                Ok(())
            }
            _ => writeln!(out, "{before}{}", note.to_string()),
        }
    }

    fn pipe(&self, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        for (column, cell) in self.columns.iter().zip(&row.cells) {
            let Column { before, piped, gap, .. } = *column;
            if cell.text.is_empty() && piped == 0 {
                continue;
            }
            let padded = match column.align {
                Align::Left => format!("{:<piped$}", cell.text),
                Align::Right => format!("{:>piped$}", cell.text),
            };
            write!(out, "{before}")?;
            cell.write(&padded, out)?;
            write!(out, "{gap}")?;
        }
        writeln!(out)
    }

    /// Writes what is not written yet.
    pub(super) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        let Paper::Screen { columns } = self.paper else { return Ok(()) };
        if self.rows.is_empty() {
            return Ok(());
        }
        // A column in which nothing is says nothing.
        let used: Vec<bool> = (0..self.columns.len())
            .map(|at| self.rows.iter().any(|row| row.cells.get(at).is_some_and(|cell| !cell.text.is_empty())))
            .collect();
        let kept = |at: usize| used.get(at).copied().unwrap_or(true);
        let shown: Vec<Column> =
            self.columns.iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, column)| *column).collect();
        let rows = self.rows.into_iter().map(|row| {
            let cells = row.cells.into_iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, cell)| cell);
            Row { cells: cells.collect(), notes: row.notes }
        });
        let rows: Vec<Row> = rows.collect();
        let widths = widths(&shown, &rows, columns);
        write_row(&shown, &widths, &header(&shown), out)?;
        rows.iter().try_for_each(|row| write_row(&shown, &widths, row, out))
    }
}

fn header(columns: &[Column]) -> Row {
    let titles = columns.iter().map(|column| Cell::coloured(NAME, column.title));
    Row { cells: titles.collect(), notes: Vec::new() }
}

/// How wide each column is: as wide as what is in it, and where that is more than the terminal is, the widest of those that can
/// be less is, until it fits.
fn widths(columns: &[Column], rows: &[Row], most: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.text.width());
            cells.chain([column.title.width()]).max().unwrap_or(0)
        })
        .collect();
    let gaps = columns.len().saturating_sub(1).saturating_mul(GAP.len());
    loop {
        let total = widths.iter().fold(gaps, |sum, width| sum.saturating_add(*width));
        let excess = total.saturating_sub(most);
        if excess == 0 {
            return widths;
        }
        let least = |column: &Column| NARROWEST.max(column.title.width());
        let flexible = columns.iter().zip(&mut widths);
        let flexible = flexible.filter(|(column, width)| column.fit != Fit::Whole && **width > least(column));
        let Some((column, widest)) = flexible.max_by_key(|(_, width)| **width) else { return widths };
        // Step by step, so that two wide ones become equally narrow.
        *widest = widest.saturating_sub(excess.min(4)).max(least(column));
    }
}

fn write_row(columns: &[Column], widths: &[usize], row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let last = columns.len().saturating_sub(1);
    let lines: Vec<Vec<String>> = columns
        .iter()
        .zip(widths)
        .zip(&row.cells)
        .enumerate()
        .map(|(at, ((column, width), cell))| {
            let mut lines = fit(&cell.text, column.fit, *width);
            if at == last {
                lines.extend(row.notes.iter().flat_map(|note| wrap(note, (*width).max(NARROWEST))));
            }
            lines
        })
        .collect();
    let height = lines.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        // Spaces are written when something follows: no line ends in them.
        let mut spaces = 0_usize;
        for (((column, width), cell), lines) in columns.iter().zip(widths).zip(&row.cells).zip(&lines) {
            let text = lines.get(line).map_or("", String::as_str);
            let room = width.saturating_sub(text.width());
            if !text.is_empty() {
                let before = if column.align == Align::Right { room } else { 0 };
                write!(out, "{}", " ".repeat(spaces.saturating_add(before)))?;
                cell.write(text, out)?;
                spaces = room.saturating_sub(before);
            } else {
                spaces = spaces.saturating_add(*width);
            }
            spaces = spaces.saturating_add(GAP.len());
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The lines of a cell.
fn fit(text: &str, fit: Fit, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let room = width.saturating_sub(CUT.width());
    match fit {
        Fit::Whole => vec![text.to_owned()],
        Fit::Cut => vec![format!("{}{CUT}", start(text, room))],
        Fit::Wrap => wrap(text, width),
    }
}

/// As much of the beginning as has room.
fn start(text: &str, room: usize) -> &str {
    let mut used = 0_usize;
    let end = text.char_indices().find(|(_, character)| {
        used = used.saturating_add(character.width().unwrap_or(0));
        used > room
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// Where a word that is longer than a line is broken: behind a slash, where that leaves no more than half of the line empty.
fn break_of(word: &str, width: usize) -> usize {
    // At least a character, or nobody would come to its end.
    let first = word.chars().next().map_or(0, char::len_utf8);
    let all = start(word, width).len().max(first);
    let slash = word.get(..all).and_then(|head| head.rfind('/')).map(|at| at.saturating_add(1));
    slash.filter(|at| at.saturating_mul(2) >= all).unwrap_or(all)
}

/// Lines of words; a word that is longer than a line is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word;
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() {
            if line.width().saturating_add(1).saturating_add(word.width()) <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            lines.push(String::new());
        }
        while word.width() > width {
            let (head, rest) = word.split_at_checked(break_of(word, width)).unwrap_or((word, ""));
            if let Some(line) = lines.last_mut() {
                line.push_str(head);
            }
            lines.push(String::new());
            word = rest;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests;
