//! The table of steps: its columns, and which of them a narrow terminal leaves out.

/// Names and widths; with the ★ they fill 80 columns.
const COLUMNS: [(&str, usize); 8] = [
    ("step", 5),
    ("epoch", 7),
    ("train loss", 12),
    ("val loss", 10),
    ("accuracy [95% CI]", 20),
    ("lr", 10),
    ("img/s", 8),
    ("wait", 6),
];

/// Columns by place in the order in which they are left out: wait, img/s, lr, epoch, train loss, val
/// loss. The step and the accuracy stay.
const LEFT_OUT: [usize; 6] = [7, 6, 5, 1, 2, 3];

/// What follows the row of the best evaluation.
pub const STAR: &str = "★";

/// The columns of a run's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    widths: [usize; COLUMNS.len()],
    shown: [bool; COLUMNS.len()],
}

impl Columns {
    /// For a run of `max_steps`, on lines of `width` characters if they are not endless.
    pub fn new(max_steps: u64, width: Option<usize>) -> Self {
        let mut widths = COLUMNS.map(|(_, width)| width);
        widths[0] = widths[0].max(max_steps.to_string().len());
        let mut columns = Self {
            widths,
            shown: [true; COLUMNS.len()],
        };
        for place in LEFT_OUT {
            if width.is_some_and(|width| columns.width() > width) {
                columns.shown[place] = false;
            }
        }
        columns
    }

    /// Of a line, the ★ included.
    pub fn width(&self) -> usize {
        let widths = self.widths.iter().zip(self.shown);
        let shown = widths.filter(|(_, shown)| *shown);
        shown.map(|(width, _)| width).sum::<usize>() + " ".len() + STAR.chars().count()
    }

    pub fn header(&self) -> String {
        self.line(&COLUMNS.map(|(name, _)| name.to_owned()))
    }

    /// The cells that are shown, aligned to the right.
    pub fn line(&self, cells: &[String; COLUMNS.len()]) -> String {
        let cells = cells.iter().zip(self.widths).zip(self.shown);
        let shown = cells.filter(|(_, shown)| *shown);
        shown
            .map(|((cell, width), _)| format!("{cell:>width$}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for (width, header) in [
            (
                80,
                "step epoch train loss val loss accuracy [95% CI] lr img/s wait",
            ),
            (
                79,
                "step epoch train loss val loss accuracy [95% CI] lr img/s",
            ),
            (60, "step epoch train loss val loss accuracy [95% CI]"),
            (50, "step train loss val loss accuracy [95% CI]"),
            (40, "step val loss accuracy [95% CI]"),
            (30, "step accuracy [95% CI]"),
        ] {
            let columns = Columns::new(100, Some(width));
            assert!(columns.width() <= width, "{width}");
            let words: Vec<String> = columns
                .header()
                .split_whitespace()
                .map(String::from)
                .collect();
            assert_eq!(words.join(" "), header, "{width}");
        }
        assert_eq!(Columns::new(100, None).width(), 80);
        // Eight digits of steps take three columns more.
        assert_eq!(Columns::new(10_000_000, None).width(), 83);
        assert!(Columns::new(10_000_000, Some(80)).width() <= 80);
    }
}
