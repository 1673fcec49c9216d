//! Reading tables: every key is taken by name, what is not taken is a problem, and a problem never stops the reading.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use super::{Report, expand};

/// Names that are this close to one another are taken for a typing error.
const SIMILAR: f64 = 0.7;

/// One table that is being read.
pub(super) struct Section<'d> {
    table: Option<&'d dyn TableLike>,
    /// Its dotted name, for messages; empty for the file itself.
    name: String,
    span: Option<Range<usize>>,
    known: Vec<&'static str>,
    /// Something else stands in its place, which has been reported, so that nothing is missing from it.
    mistaken: bool,
    expands: bool,
}

/// A value in its place.
#[derive(Clone)]
pub(super) struct Field<'d> {
    item: &'d Item,
    /// Its dotted name, for messages.
    pub(super) name: String,
    /// Where it stands.
    pub(super) span: Option<Range<usize>>,
    expands: bool,
}

impl<'d> Section<'d> {
    /// A file as a whole. Whether references (`${env:NAME}`) are expanded in it is the file's, not the single value's: what a plugin's author
    /// writes must not reach the host's environment.
    pub(super) fn root(table: &'d dyn TableLike, expands: bool) -> Section<'d> {
        Section { table: Some(table), name: String::new(), span: None, known: Vec::new(), mistaken: false, expands }
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Where the table stands; none when it is not there.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// The value of this key, if it is there.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'d>> {
        self.known.push(key);
        let (typed, item) = self.table?.get_key_value(key)?;
        Some(Field { item, name: self.full_name(key), span: item.span().or_else(|| typed.span()), expands: self.expands })
    }

    /// The value of this key, read; none when it is not there or has a problem, which is then reported.
    pub(super) fn optional<T>(&mut self, report: &mut Report, key: &'static str, read: impl FnOnce(&Field<'d>) -> Result<T, String>) -> Option<T> {
        let field = self.field(key)?;
        match read(&field) {
            Ok(value) => Some(value),
            Err(cause) => {
                report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None);
                None
            }
        }
    }

    /// Like [`Section::optional`], but not to be left out; `example` shows how it is written.
    pub(super) fn required<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Field<'d>) -> Result<T, String>,
    ) -> Option<T> {
        let field = self.required_field(report, key, example)?;
        read(&field).map_err(|cause| report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None)).ok()
    }

    /// The value of this key, which is not to be left out.
    pub(super) fn required_field(&mut self, report: &mut Report, key: &'static str, example: &str) -> Option<Field<'d>> {
        if let Some(field) = self.field(key) {
            return Some(field);
        }
        if self.mistaken {
            return None;
        }
        let hint = match &self.name {
            name if name.is_empty() => format!("add `{key} = {example}`"),
            name => format!("add `{key} = {example}` to `[{name}]`"),
        };
        report.add(self.span.clone(), format!("`{}` is missing", self.full_name(key)), Some(hint));
        None
    }

    /// A table in this one; empty when it is not there, or when something else is, which is then reported.
    pub(super) fn section(&mut self, report: &mut Report, key: &'static str) -> Section<'d> {
        match self.field(key) {
            Some(field) => field.section(report),
            None => {
                Section { table: None, name: self.full_name(key), span: self.span.clone(), known: Vec::new(), mistaken: false, expands: self.expands }
            }
        }
    }

    /// Whether the table is there.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// All entries, where the names are the user's own. Nothing is left to report then.
    pub(super) fn entries(&self) -> Vec<(String, Field<'d>)> {
        let Some(table) = self.table else { return Vec::new() };
        let field = |(key, item): (&str, &'d Item)| {
            let span = item.span().or_else(|| table.get_key_value(key).and_then(|(typed, _)| typed.span()));
            (key.to_owned(), Field { item, name: self.full_name(key), span, expands: self.expands })
        };
        table.iter().map(field).collect()
    }

    /// All entries, those of tables within it under dotted names: for names that have dots in them, which TOML takes for tables unless they are
    /// quoted.
    pub(super) fn leaves(&self) -> Vec<(String, Field<'d>)> {
        let entry = |(name, field): (String, Field<'d>)| match field.item.as_table_like() {
            Some(table) => {
                let within =
                    Section { table: Some(table), name: field.name, span: field.span, known: Vec::new(), mistaken: false, expands: self.expands };
                within.leaves().into_iter().map(|(rest, field)| (format!("{name}.{rest}"), field)).collect()
            }
            None => vec![(name, field)],
        };
        self.entries().into_iter().flat_map(entry).collect()
    }

    /// Reports every key that nobody took.
    pub(super) fn finish(self, report: &mut Report) {
        #[cfg(test)]
        report.read.extend(self.known.iter().map(|key| self.full_name(key)));
        let Some(table) = self.table else { return };
        for (key, item) in table.iter() {
            if self.known.contains(&key) {
                continue;
            }
            let span = table.get_key_value(key).and_then(|(typed, _)| typed.span()).or_else(|| item.span());
            let similar = |known: &&&str| strsim::jaro_winkler(known, key);
            let nearest = self.known.iter().max_by(|a, b| similar(a).total_cmp(&similar(b))).filter(|known| similar(known) >= SIMILAR);
            let hint = match nearest {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ")),
            };
            report.add(span, format!("unknown key `{}`", self.full_name(key)), Some(hint));
        }
    }
}

impl<'d> Field<'d> {
    /// The table that it is.
    pub(super) fn section(&self, report: &mut Report) -> Section<'d> {
        let table = self.item.as_table_like();
        if table.is_none() {
            report.add(self.span.clone(), format!("`{}`: expected a table, found {}", self.name, found(self.item)), None);
        }
        Section { table, name: self.name.clone(), span: self.span.clone(), known: Vec::new(), mistaken: table.is_none(), expands: self.expands }
    }

    /// A string, expanded, and what it is read as. The message shows what was typed: what a variable or a file holds is not for a message.
    pub(super) fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        read_expanded(self.typed()?, self.expands, read)
    }

    /// A text that is not empty, expanded.
    pub(super) fn text(&self) -> Result<String, String> {
        self.read(not_empty)
    }

    /// A list of strings, each expanded and read. What is wrong with one of them is reported at its place.
    pub(super) fn texts<T>(&self, report: &mut Report, read: impl Fn(&str) -> Result<T, String>) -> Vec<(T, Option<Range<usize>>)> {
        let list = match self.list() {
            Ok(list) => list,
            Err(cause) => {
                report.add(self.span.clone(), format!("`{}`: {cause}", self.name), None);
                return Vec::new();
            }
        };
        let mut read_ones = Vec::new();
        for (typed, span) in list {
            match read_expanded(typed, self.expands, &read) {
                Ok(value) => read_ones.push((value, span)),
                Err(cause) => report.add(span, format!("`{}`: {cause}", self.name), None),
            }
        }
        read_ones
    }

    /// A string as typed.
    pub(super) fn typed(&self) -> Result<&'d str, String> {
        self.item.as_str().ok_or_else(|| format!("expected a string, found {}", found(self.item)))
    }

    /// Whether it is a string.
    pub(super) fn is_text(&self) -> bool {
        self.item.is_str()
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.item.is_table_like()
    }

    /// A number from 1; as a string only where that comes from somewhere else (`"${env:COUNT}"`).
    pub(super) fn count(&self) -> Result<usize, String> {
        if self.expands && self.item.as_str().is_some_and(|typed| typed.contains("${")) {
            return self
                .read(|text| text.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("expected a number from 1, found `{text}`")));
        }
        let number = self.item.as_integer().ok_or_else(|| format!("expected a number, found {}", found(self.item)))?;
        usize::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| format!("expected a number from 1, found {number}"))
    }

    /// A number between 0 and 1.
    pub(super) fn ratio(&self) -> Result<f64, String> {
        let number = self.item.as_float().or_else(|| self.item.as_integer().map(|number| number as f64));
        let number = number.ok_or_else(|| format!("expected a number, found {}", found(self.item)))?;
        if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(format!("expected a number from 0 to 1, found {number}")) }
    }

    /// A list of strings, each with its place.
    pub(super) fn list(&self) -> Result<Vec<(&'d str, Option<Range<usize>>)>, String> {
        let array = self.item.as_array().ok_or_else(|| format!("expected a list of strings, found {}", found(self.item)))?;
        let text = |value: &'d Value| match value.as_str() {
            Some(text) => Ok((text, value.span())),
            None => Err(format!("expected a list of strings, found {} in it", kind(value))),
        };
        array.iter().map(text).collect()
    }

    /// The value as JSON, for settings that a plugin reads.
    pub(super) fn json(&self) -> Result<serde_json::Value, String> {
        json(self.item)
    }
}

/// Text that is not empty, without the blanks around it.
pub(super) fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a text, found an empty one".into()),
        text => Ok(text.to_owned()),
    }
}

fn read_expanded<T>(typed: &str, expands: bool, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    if !expands || !typed.contains("${") {
        return read(typed);
    }
    let expanded = expand::text(typed)?;
    read(&expanded).map_err(|cause| match cause.split_once(", found `") {
        Some((expected, _)) => format!("{expected}, found what `{typed}` expands to"),
        None if cause.contains(expanded.trim()) => format!("what `{typed}` expands to is not accepted here"),
        None => format!("what `{typed}` expands to is not accepted here: {cause}"),
    })
}

fn json(item: &Item) -> Result<serde_json::Value, String> {
    match item {
        Item::None => Ok(serde_json::Value::Null),
        Item::Value(value) => json_value(value),
        Item::Table(table) => {
            table.iter().map(|(key, item)| Ok((key.to_owned(), json(item)?))).collect::<Result<serde_json::Map<_, _>, _>>().map(Into::into)
        }
        Item::ArrayOfTables(tables) => tables.iter().map(|table| json(&Item::Table(table.clone()))).collect::<Result<Vec<_>, _>>().map(Into::into),
    }
}

fn json_value(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number.value()).ok_or("JSON has no number that is infinite or not a number")?.into(),
        Value::Boolean(truth) => (*truth.value()).into(),
        Value::Datetime(time) => time.value().to_string().into(),
        Value::Array(values) => values.iter().map(json_value).collect::<Result<Vec<_>, _>>()?.into(),
        Value::InlineTable(table) => {
            table.iter().map(|(key, value)| Ok((key.to_owned(), json_value(value)?))).collect::<Result<serde_json::Map<_, _>, String>>()?.into()
        }
    })
}

fn found(item: &Item) -> &'static str {
    match item {
        Item::Value(value) => kind(value),
        Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
        Item::None => "nothing",
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}
