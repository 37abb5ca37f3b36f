//! The table of all that was tried.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::outcome::Outcome;

pub struct Row {
    pub name: String,
    pub file: String,
    pub outcome: Outcome,
    /// Why nothing should catch it.
    pub equivalent: Option<String>,
    pub took: Duration,
}

impl Row {
    /// What is not as the list says.
    pub fn wrong(&self) -> Option<String> {
        match (&self.outcome, &self.equivalent) {
            (Outcome::Survived, None) => Some("survived: no test of its record fails".into()),
            (Outcome::Caught { net, message }, Some(_)) => Some(format!(
                "caught ({net}), and listed as equivalent: {message}"
            )),
            (Outcome::NotTried(why), _) => Some(format!("not tried: {why}")),
            _ => None,
        }
    }

    /// For whoever watches.
    pub fn line(&self) -> String {
        let seconds = self.took.as_secs_f64();
        let wrong = if self.wrong().is_some() { "  <<<<" } else { "" };
        format!("{:<48} {seconds:5.1} s  {}{wrong}", self.name, self.net())
    }

    fn net(&self) -> &str {
        match &self.outcome {
            Outcome::Caught { net, .. } => net,
            Outcome::Survived => "survived",
            Outcome::NotTried(_) => "not tried",
        }
    }

    fn said(&self) -> &str {
        match (&self.outcome, &self.equivalent) {
            (Outcome::Survived, Some(why)) => why,
            (Outcome::Caught { message, .. } | Outcome::NotTried(message), _) => message,
            (Outcome::Survived, None) => "",
        }
    }
}

/// As Markdown: how many each net caught, then each mutation.
pub fn table(rows: &[Row], took: Duration) -> String {
    let mut nets: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *nets.entry(row.net()).or_default() += 1;
    }
    let mut text = format!(
        "{} mutations in {} s\n\n| | |\n| --- | --- |\n",
        rows.len(),
        took.as_secs()
    );
    for (net, count) in nets {
        let _ = writeln!(text, "| {net} | {count} |");
    }
    text.push_str("\n| mutation | file | caught by | what was said, or why it is equivalent |\n");
    text.push_str("| --- | --- | --- | --- |\n");
    for row in rows {
        let said: String = row.said().replace('|', "\\|").chars().take(160).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {said} |",
            row.name,
            row.file,
            row.net()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome, equivalent: Option<&str>) -> Row {
        Row {
            name: "a".into(),
            file: "a.cu".into(),
            outcome,
            equivalent: equivalent.map(str::to_owned),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_not_as_the_list_says_is_wrong() {
        let caught = || Outcome::Caught {
            net: "race",
            message: "a | b".into(),
        };
        assert!(row(caught(), None).wrong().is_none());
        assert!(row(Outcome::Survived, Some("why")).wrong().is_none());
        assert!(row(Outcome::Survived, None).wrong().is_some());
        assert!(row(caught(), Some("why")).wrong().is_some());
        assert!(row(Outcome::NotTried("why".into()), None).wrong().is_some());
        let text = table(&[row(caught(), None)], Duration::from_secs(2));
        assert!(text.contains("| a | a.cu | race | a \\| b |"), "{text}");
    }
}
