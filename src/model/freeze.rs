//! Training only the upper part of a model: what is frozen, and how far down the backward pass goes.

use std::fmt;
use std::ops::Range;

use super::config::VitConfig;
use super::params::ParamTable;
use crate::error::{Error, Result};

/// Which parameters training leaves as they are, to the bit: no gradient, no weight decay, no part
/// in the gradient norm.
///
/// They are always the lowest ones, and so the first ones of the arena: the backward pass ends where
/// they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freeze {
    #[default]
    Nothing,
    /// The embeddings and so many blocks above them.
    Layers(usize),
    /// All but the head: linear probing.
    Backbone,
}

impl Freeze {
    /// [`Error::Usage`] unless a model of `config` has what is to be frozen.
    pub fn check(self, config: &VitConfig) -> Result<()> {
        let layers = config.num_hidden_layers;
        match self {
            Self::Layers(frozen) if frozen > layers => Err(Error::usage(
                format!("`--freeze {frozen}`: the model has {layers} layers"),
                format!("give at most {layers}, or `backbone` for all but the head"),
            )),
            _ => Ok(()),
        }
    }

    /// The blocks of `layers` in all that are trained.
    pub fn trained_layers(self, layers: usize) -> Range<usize> {
        match self {
            Self::Nothing => 0..layers,
            Self::Layers(frozen) => frozen..layers,
            Self::Backbone => layers..layers,
        }
    }

    /// The trained part of an arena of `table`'s layout.
    ///
    /// # Panics
    /// If the model has fewer layers than are to be frozen.
    pub fn trained(self, table: &ParamTable) -> Range<usize> {
        let start = match self {
            Self::Nothing => 0,
            Self::Layers(frozen) if frozen == table.layers.len() => table.norm_weight.start,
            Self::Layers(frozen) => table.layers[frozen].norm1_weight.start,
            Self::Backbone => table.head_weight.start,
        };
        start..table.len
    }
}

impl fmt::Display for Freeze {
    /// As `--freeze` spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Layers(layers) => write!(f, "{layers}"),
            Self::Backbone => f.write_str("backbone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;

    #[test]
    fn what_is_frozen_comes_first() {
        let mut config = preset("vit_tiny_patch16_224").expect("a preset");
        config.set_labels(&["cat", "dog"]);
        let table = ParamTable::new(&config);
        let frozen = |freeze: Freeze| {
            let start = freeze.trained(&table).start;
            let params = table.params.iter();
            let (below, above): (Vec<_>, Vec<_>) = params.partition(|p| p.range.end <= start);
            assert!(above.iter().all(|p| p.range.start >= start));
            let first = |of: &[&crate::model::params::Param]| of.first().map(|p| p.name.clone());
            (below.len(), first(&above).expect("the head at least"))
        };
        // Class token, positions, projection; 16 tensors a block; norm; head.
        let cls = "vit.embeddings.cls_token".to_owned();
        let norm1 = "vit.encoder.layer.5.layernorm_before.weight".to_owned();
        assert_eq!(frozen(Freeze::Nothing), (0, cls));
        assert_eq!(frozen(Freeze::Layers(5)), (4 + 5 * 16, norm1));
        assert_eq!(
            frozen(Freeze::Layers(12)),
            (4 + 12 * 16, "vit.layernorm.weight".into())
        );
        assert_eq!(
            frozen(Freeze::Backbone),
            (4 + 12 * 16 + 2, "classifier.weight".into())
        );
    }

    #[test]
    fn more_layers_than_there_are_cannot_be_frozen() {
        let config = preset("vit_tiny_patch16_224").expect("a preset");
        assert!(Freeze::Layers(12).check(&config).is_ok());
        let error = Freeze::Layers(13).check(&config).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("the model has 12 layers"));
    }
}
