//! Tables that are text for a person and JSON for a program.
//!
//! Contract: a row is one line whatever its cells hold.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Map, Value};

use crate::{Answer, BadQuery, Form, Query};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Text, to the left.
    Text,
    /// Numbers, to the right.
    Number,
    /// Seconds, to the right; text has them with a fitting unit. The key ends in `_seconds`.
    Seconds,
    /// Bytes, to the right; text has them with a fitting unit. The key ends in `_bytes`.
    Bytes,
}

impl Column {
    /// The key without the unit that each of the cells has.
    fn title(self, key: &str) -> String {
        let unit = match self {
            Column::Text | Column::Number => "",
            Column::Seconds => "_seconds",
            Column::Bytes => "_bytes",
        };
        key.strip_suffix(unit).unwrap_or(key).replace('_', " ")
    }
}

/// A table under construction.
#[derive(Clone, Debug)]
pub struct Table {
    name: &'static str,
    columns: Vec<(&'static str, Column)>,
    rows: Vec<Vec<Value>>,
    legend: &'static str,
}

impl Table {
    /// A table with the columns' keys, which are its titles as well. The name is its key in JSON.
    #[must_use]
    pub fn new(name: &'static str, columns: &[(&'static str, Column)]) -> Table {
        Table {
            name,
            columns: columns.to_vec(),
            rows: Vec::new(),
            legend: "",
        }
    }

    /// With lines below the rows of the text that explain the columns.
    #[must_use]
    pub fn legend(mut self, lines: &'static str) -> Table {
        self.legend = lines;
        self
    }

    /// Adds a row with one cell per column; `Value::Null` is an empty cell.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Value>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// As aligned text with a line of titles.
    #[must_use]
    pub fn text(&self) -> String {
        let titles = self
            .columns
            .iter()
            .map(|(key, column)| column.title(key))
            .collect();
        let cells = self.rows.iter().map(|row| self.cells(row));
        let lines: Vec<Vec<String>> = std::iter::once(titles).chain(cells).collect();
        let mut widths = vec![0; self.columns.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for line in lines {
            let mut shown = String::new();
            for ((cell, &width), (_, column)) in line.iter().zip(&widths).zip(&self.columns) {
                let _ = match column {
                    Column::Text => write!(shown, "{cell:<width$}  "),
                    Column::Number | Column::Seconds | Column::Bytes => write!(shown, "{cell:>width$}  "),
                };
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        if !self.legend.is_empty() {
            text.push('\n');
            text.push_str(self.legend);
        }
        text
    }

    /// As a list of objects.
    #[must_use]
    pub fn json(&self) -> Value {
        let keys = self.columns.iter().map(|(key, _)| (*key).to_owned());
        let object = |row: &Vec<Value>| keys.clone().zip(row.iter().cloned()).collect::<Map<_, _>>();
        self.rows.iter().map(object).map(Value::Object).collect()
    }

    fn cells(&self, row: &[Value]) -> Vec<String> {
        row.iter()
            .zip(&self.columns)
            .map(|(cell, (_, column))| match (cell, column) {
                (Value::Null, _) => "-".to_owned(),
                (Value::Number(number), Column::Seconds) => {
                    number.as_f64().map_or_else(|| number.to_string(), seconds)
                }
                (Value::Number(number), Column::Bytes) => {
                    number.as_f64().map_or_else(|| number.to_string(), bytes)
                }
                (Value::String(text), _) => printable(text),
                (other, _) => other.to_string(),
            })
            .collect()
    }
}

/// An answer with one table after the other, in the form that is asked for.
pub fn tables(query: &Query, tables: &[Table]) -> Result<Answer, BadQuery> {
    if query.form()? == Form::Json {
        let all = tables.iter().map(|table| (table.name.to_owned(), table.json()));
        return Ok(Answer::json(&Value::Object(all.collect())));
    }
    let mut text = String::new();
    for table in tables {
        if tables.len() > 1 {
            let _ = writeln!(text, "== {} ({})", table.name.replace('_', " "), table.rows());
        }
        text.push_str(&table.text());
        if tables.len() > 1 {
            text.push('\n');
        }
    }
    Ok(Answer::text(text))
}

/// A cell with seconds.
#[must_use]
pub fn secs(duration: Duration) -> Value {
    // Six digits are more than any of these times is worth.
    Value::from((duration.as_secs_f64() * 1e6).round() / 1e6)
}

fn seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "0s".to_owned(),
        s if s < 1e-3 => format!("{:.0}µs", s * 1e6),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1}s"),
        s if s < 7_200.0 => format!("{:.1}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.1}h", s / 3_600.0),
        s => format!("{:.1}d", s / 86_400.0),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1e3 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// Text without anything that would end the line or move a terminal's cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let mut table = Table::new(
            "tasks",
            &[
                ("id", Column::Number),
                ("name", Column::Text),
                ("age_seconds", Column::Seconds),
            ],
        );
        table.row([json!(7), json!("relay\n\x1b[2J"), json!(0.25)]);
        table.row([json!(12), Value::Null, json!(90)]);
        table
    }

    #[test]
    fn text_is_aligned_and_one_line_a_row() {
        let expected =
            "id  name            age\n 7  relay\u{fffd}\u{fffd}[2J  250.0ms\n12  -             90.0s\n";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn json_is_a_list_of_objects() {
        let answer = tables(&Query::default().with("format", "json"), &[table()]).unwrap();
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({"tasks": [
            {"id": 7, "name": "relay\n\u{1b}[2J", "age_seconds": 0.25},
            {"id": 12, "name": null, "age_seconds": 90},
        ]});
        assert_eq!(value, expected);
    }

    #[test]
    fn bytes_have_a_fitting_unit_and_columns_an_explanation() {
        let mut table = Table::new("rings", &[("ring_bytes", Column::Bytes)]).legend("ring  what is kept\n");
        for size in [0_u64, 999, 1_500, 524_288, 2_000_000_000] {
            table.row([json!(size)]);
        }
        let expected = "    ring\n     0 B\n   999 B\n  1.5 kB\n524.3 kB\n  2.0 GB\n\nring  what is kept\n";
        assert_eq!(table.text(), expected);
        assert_eq!(table.json()[2], json!({"ring_bytes": 1_500}));
    }

    #[test]
    fn seconds_have_a_fitting_unit() {
        let cases = [
            (0.0, "0s"),
            (0.000_012, "12µs"),
            (0.25, "250.0ms"),
            (59.0, "59.0s"),
            (600.0, "10.0m"),
            (7_200.0, "2.0h"),
            (864_000.0, "10.0d"),
        ];
        for (value, expected) in cases {
            assert_eq!(seconds(value), expected);
        }
    }
}
