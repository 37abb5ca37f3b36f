//! Which columns of a table hold what is wanted.

use super::folder::some_of;

/// The columns a person named; the others are found by what they hold and are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// `--image-column`.
    pub image: Option<String>,
    /// `--label-column`.
    pub label: Option<String>,
}

/// Names that image columns go by, in order of preference.
pub const IMAGE_NAMES: [&str; 4] = ["image", "img", "picture", "photo"];

/// Names that label columns go by, in order of preference.
pub const LABEL_NAMES: [&str; 4] = ["label", "labels", "class", "target"];

/// The first of `names`, in their order, among the columns.
pub fn called<'a>(names: &[&str], columns: &'a [String]) -> Option<&'a String> {
    let named = |name: &&str| {
        columns
            .iter()
            .find(|column| column.eq_ignore_ascii_case(name))
    };
    names.iter().find_map(named)
}

/// The problem and the help for a column that a person named and nobody has.
pub fn unknown(flag: &str, name: &str, columns: &[String]) -> (String, String) {
    let problem = format!("there is no column `{name}` ({flag})");
    let help = match nearest(name, columns) {
        Some(nearest) => format!(
            "did you mean `{nearest}`? its columns are {}",
            some_of(columns)
        ),
        None => format!("its columns are {}", some_of(columns)),
    };
    (problem, help)
}

/// The name most like `wrong`, if one is like it at all.
pub fn nearest<'a>(wrong: &str, names: &'a [String]) -> Option<&'a String> {
    let wrong = wrong.to_lowercase();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
