//! What a run is going to write, said before it does.

use crate::files;
use crate::report::Fact;
use crate::report::format::bytes;

use super::config::SaveStrategy;
use super::trainer::Run;

impl Run<'_> {
    /// Lines for the header: what the checkpoints of the run will take, and whether there is room.
    pub(super) fn saving_plan(&self) -> (Option<Fact>, Option<String>) {
        let count = self.plan.checkpoints_after(self.state.global_step);
        let config = self.job.config;
        // Parameters, and two moments of those that are trained, f32.
        let moments = if config.save_only_model {
            0
        } else {
            8 * self.engine.trained().len()
        };
        let size = 4 * self.engine.table().len + moments;
        let up_to = match config.save {
            SaveStrategy::Best => "up to ",
            _ => "",
        };
        plan_in_words(count, size as u64, config.save_total_limit).map_or((None, None), |plan| {
            let free = files::free_space(self.folder.path());
            let notice = free.and_then(|free| no_room(plan.kept, free));
            let text = format!("{up_to}{}", plan.text);
            (Some(Fact::new("saving", text)), notice)
        })
    }
}

/// What a run is going to write.
struct SavingPlan {
    text: String,
    /// Bytes that are on the disk at once.
    kept: u64,
}

/// What to say where `needed` bytes are more than are `free`.
fn no_room(needed: u64, free: u64) -> Option<String> {
    (needed > free).then(|| {
        format!(
            "the checkpoints of this run need {} and the disk has {} left: `--save-total-limit 2` \
             keeps two of them, a larger `--save-steps` writes fewer",
            bytes(needed),
            bytes(free)
        )
    })
}

/// The plan of `count` checkpoints of `size` bytes each, `limit` of which are kept; none without
/// checkpoints.
fn plan_in_words(count: u64, size: u64, limit: Option<usize>) -> Option<SavingPlan> {
    if count == 0 {
        return None;
    }
    // Besides those that are kept there is the one being written; and the best one, where one
    // alone is kept.
    let at_once = match limit {
        Some(1) => count.min(3),
        Some(limit) => count.min(limit as u64 + 1),
        None => count,
    };
    let kept = at_once * size;
    let all = match (count, limit) {
        (1, _) => String::new(),
        (_, Some(_)) if at_once < count => {
            format!(
                ": {} written, at most {} at a time",
                bytes(count * size),
                bytes(kept)
            )
        }
        _ => format!(": {} written, and kept", bytes(count * size)),
    };
    let what = match count {
        1 => "1 checkpoint".to_owned(),
        count => format!("{count} checkpoints"),
    };
    Some(SavingPlan {
        text: format!("{what} of {}{all}, while training goes on", bytes(size)),
        kept,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tutorial's run: ViT-B/16 with two classes, saved every 10 of 126 steps, two kept.
    #[test]
    fn what_will_be_written_is_said_beforehand() {
        let said = |count, limit| {
            let plan = plan_in_words(count, 12 * 85_800_194, limit)?;
            Some((plan.text, plan.kept))
        };
        let (text, kept) = said(13, Some(2)).unwrap();
        assert_eq!(
            text,
            "13 checkpoints of 1.03 GB: 13.4 GB written, at most 3.09 GB at a time, while training \
             goes on"
        );
        assert_eq!(kept, 36 * 85_800_194);
        assert_eq!(
            said(13, None).unwrap().0,
            "13 checkpoints of 1.03 GB: 13.4 GB written, and kept, while training goes on"
        );
        assert_eq!(
            said(1, Some(2)).unwrap().0,
            "1 checkpoint of 1.03 GB, while training goes on"
        );
        assert_eq!(said(0, None), None);
        let notice = no_room(kept, 2_000_000_000).unwrap();
        assert!(notice.contains("need 3.09 GB and the disk has 2.00 GB left"));
        assert_eq!(no_room(kept, kept), None);
    }
}
