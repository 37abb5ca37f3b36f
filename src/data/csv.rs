//! Comma-separated values, as RFC 4180 has them.

/// One record and the line, from 1, that it starts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub line: usize,
    pub fields: Vec<String>,
}

/// What stands between fields: the first line tells, a tab before a semicolon before a comma.
pub fn delimiter(text: &str) -> char {
    let first = text.lines().next().unwrap_or_default();
    let found = ['\t', ';'].into_iter().find(|&c| first.contains(c));
    found
        .filter(|&c| c == '\t' || !first.contains(','))
        .unwrap_or(',')
}

/// The records of `text`, empty lines left out; fails with the line of a quote that never ends.
pub fn records(text: &str, delimiter: char) -> Result<Vec<Record>, usize> {
    let mut records = Vec::new();
    let mut fields = Vec::new();
    let mut field = String::new();
    let (mut line, mut start) = (1, 1);
    // The line on which the quotes that are open were opened.
    let mut quoted: Option<usize> = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        line += usize::from(c == '\n');
        match (quoted, c) {
            (Some(_), '"') if characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            (Some(_), '"') => quoted = None,
            (Some(_), _) => field.push(c),
            (None, '"') if field.is_empty() => quoted = Some(line),
            (None, '\r') if characters.peek() == Some(&'\n') => {}
            (None, '\n') => {
                finish(&mut records, start, &mut fields, &mut field);
                start = line;
            }
            (None, c) if c == delimiter => fields.push(std::mem::take(&mut field)),
            (None, c) => field.push(c),
        }
    }
    finish(&mut records, start, &mut fields, &mut field);
    match quoted {
        None => Ok(records),
        Some(line) => Err(line),
    }
}

fn finish(records: &mut Vec<Record>, line: usize, fields: &mut Vec<String>, field: &mut String) {
    fields.push(std::mem::take(field));
    let fields = std::mem::take(fields);
    if fields != [""] {
        records.push(Record { line, fields });
    }
}

/// `fields` as a line, quoted where they must be.
pub fn line(fields: &[&str]) -> String {
    let quote = |field: &&str| {
        if field.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            (*field).to_owned()
        }
    };
    let quoted: Vec<String> = fields.iter().map(quote).collect();
    quoted.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_anything() {
        let text = "a,b\r\n\"x,\"\"y\"\"\",\"two\nlines\"\n\nlast,";
        let found = records(text, ',').unwrap();
        let expected = [
            (1, vec!["a", "b"]),
            (2, vec!["x,\"y\"", "two\nlines"]),
            (5, vec!["last", ""]),
        ];
        let found: Vec<(usize, Vec<&str>)> = found
            .iter()
            .map(|r| (r.line, r.fields.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(records("a\n\"b\nc", ','), Err(2));
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = ["plain", "a \"b\", c", "two\r\nlines", ""];
        let read = records(&line(&fields), ',').unwrap();
        assert_eq!(read[0].fields, fields);
        assert_eq!(read.len(), 1);
    }

    #[test]
    fn the_first_line_tells_the_delimiter() {
        for (text, expected) in [
            ("a,b;c", ','),
            ("a;b\n,", ';'),
            ("a\tb,c", '\t'),
            ("a", ','),
        ] {
            assert_eq!(delimiter(text), expected, "{text:?}");
        }
    }
}
