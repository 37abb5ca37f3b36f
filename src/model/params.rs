//! The one table of a ViT's parameters: names, shapes, places in the arena, decay, initial values.
//!
//! All parameters live in one flat arena; gradients, AdamW moments and the f16 copy are arenas of
//! the same layout. Query, key and value of a layer are neighbours, so that the packed (3C, C)
//! weight that the fused projection wants is a plain slice.

use std::ops::Range;

use super::config::VitConfig;

/// How a parameter starts when no checkpoint gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal, cut at ±2 standard deviations, with this standard deviation.
    TruncatedNormal(f64),
}

/// One parameter tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name in a `ViTForImageClassification` checkpoint.
    pub name: String,
    pub shape: Vec<usize>,
    /// Place in the arena, in elements.
    pub range: Range<usize>,
    /// Whether weight decay applies: every tensor but biases and layer norms, the class token and
    /// the positions included (Trainer's rule, `get_decay_parameter_names`).
    pub decay: bool,
    pub init: Init,
}

/// Arena slices of one encoder block.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRanges {
    pub norm1_weight: Range<usize>,
    pub norm1_bias: Range<usize>,
    /// (3C, C): query, key, value rows.
    pub qkv_weight: Range<usize>,
    /// (3C); empty where `qkv_bias` is false.
    pub qkv_bias: Range<usize>,
    pub proj_weight: Range<usize>,
    pub proj_bias: Range<usize>,
    pub norm2_weight: Range<usize>,
    pub norm2_bias: Range<usize>,
    pub fc1_weight: Range<usize>,
    pub fc1_bias: Range<usize>,
    pub fc2_weight: Range<usize>,
    pub fc2_bias: Range<usize>,
}

/// The table, and the slices by role.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamTable {
    /// In arena order.
    pub params: Vec<Param>,
    /// Elements in the arena.
    pub len: usize,
    pub cls_token: Range<usize>,
    pub position_embeddings: Range<usize>,
    pub patch_weight: Range<usize>,
    pub patch_bias: Range<usize>,
    pub layers: Vec<LayerRanges>,
    pub norm_weight: Range<usize>,
    pub norm_bias: Range<usize>,
    pub head_weight: Range<usize>,
    pub head_bias: Range<usize>,
}

struct Builder {
    params: Vec<Param>,
    len: usize,
    std: f64,
}

impl Builder {
    fn add(&mut self, name: String, shape: &[usize], decay: bool, init: Init) -> Range<usize> {
        let range = self.len..self.len + shape.iter().product::<usize>();
        self.len = range.end;
        self.params.push(Param {
            name,
            shape: shape.to_vec(),
            range: range.clone(),
            decay,
            init,
        });
        range
    }

    fn weight(&mut self, name: String, shape: &[usize]) -> Range<usize> {
        self.add(name, shape, true, Init::TruncatedNormal(self.std))
    }

    fn bias(&mut self, name: String, width: usize) -> Range<usize> {
        self.add(name, &[width], false, Init::Zeros)
    }

    fn norm(&mut self, name: &str, width: usize) -> (Range<usize>, Range<usize>) {
        let weight = self.add(format!("{name}.weight"), &[width], false, Init::Ones);
        (weight, self.bias(format!("{name}.bias"), width))
    }

    fn linear(
        &mut self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> (Range<usize>, Range<usize>) {
        let weight = self.weight(format!("{name}.weight"), &[outputs, inputs]);
        (weight, self.bias(format!("{name}.bias"), outputs))
    }
}

/// `arena`, which holds `params` one behind the other, cut into their tensors.
///
/// Panics if it holds something else.
pub fn split_mut<'p, 'a>(
    params: &'p [Param],
    arena: &'a mut [f32],
) -> Vec<(&'p Param, &'a mut [f32])> {
    assert_eq!(arena.len(), len(params), "arena of other parameters");
    let mut rest = arena;
    params
        .iter()
        .map(|param| {
            let (values, tail) = std::mem::take(&mut rest).split_at_mut(param.range.len());
            rest = tail;
            (param, values)
        })
        .collect()
}

/// Values of `params` together.
pub fn len(params: &[Param]) -> usize {
    params.iter().map(|param| param.range.len()).sum()
}

impl ParamTable {
    /// The table of `config`, its head included when it has labels.
    pub fn new(config: &VitConfig) -> Self {
        let c = config.hidden_size;
        let mut b = Builder {
            params: Vec::new(),
            len: 0,
            std: config.initializer_range,
        };
        let cls_token = b.weight("vit.embeddings.cls_token".into(), &[1, 1, c]);
        let position_embeddings = b.weight(
            "vit.embeddings.position_embeddings".into(),
            &[1, config.tokens(), c],
        );
        let projection = "vit.embeddings.patch_embeddings.projection";
        let p = config.patch_size;
        let patch_weight = b.weight(
            format!("{projection}.weight"),
            &[c, config.num_channels, p, p],
        );
        let patch_bias = b.bias(format!("{projection}.bias"), c);
        let layers = (0..config.num_hidden_layers)
            .map(|layer| b.layer(config, layer))
            .collect();
        let (norm_weight, norm_bias) = b.norm("vit.layernorm", c);
        let (head_weight, head_bias) = b.linear("classifier", config.num_labels(), c);
        Self {
            params: b.params,
            len: b.len,
            cls_token,
            position_embeddings,
            patch_weight,
            patch_bias,
            layers,
            norm_weight,
            norm_bias,
            head_weight,
            head_bias,
        }
    }

    /// `arena` cut into the tensors of the table, in its order.
    ///
    /// Panics if the arena is not the table's.
    pub fn split_mut<'a>(&self, arena: &'a mut [f32]) -> Vec<(&Param, &'a mut [f32])> {
        split_mut(&self.params, arena)
    }

    /// The parameters from place `start` of the arena on.
    ///
    /// Panics if none starts there.
    pub fn starting_at(&self, start: usize) -> &[Param] {
        let first = self.params.iter().position(|p| p.range.start == start);
        &self.params[first.expect("a parameter starts there")..]
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| p.name == name)
    }
}

impl Builder {
    fn layer(&mut self, config: &VitConfig, layer: usize) -> LayerRanges {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let name = format!("vit.encoder.layer.{layer}");
        let attention = format!("{name}.attention.attention");
        let (norm1_weight, norm1_bias) = self.norm(&format!("{name}.layernorm_before"), c);
        let mut packed = |role: &str| {
            let start = self.len;
            for part in ["query", "key", "value"] {
                match role {
                    "weight" => self.weight(format!("{attention}.{part}.weight"), &[c, c]),
                    _ => self.bias(format!("{attention}.{part}.bias"), c),
                };
            }
            start..self.len
        };
        let qkv_weight = packed("weight");
        let qkv_bias = if config.qkv_bias {
            packed("bias")
        } else {
            qkv_weight.end..qkv_weight.end
        };
        let (proj_weight, proj_bias) = self.linear(&format!("{name}.attention.output.dense"), c, c);
        let (norm2_weight, norm2_bias) = self.norm(&format!("{name}.layernorm_after"), c);
        let (fc1_weight, fc1_bias) = self.linear(&format!("{name}.intermediate.dense"), f, c);
        let (fc2_weight, fc2_bias) = self.linear(&format!("{name}.output.dense"), c, f);
        LayerRanges {
            norm1_weight,
            norm1_bias,
            qkv_weight,
            qkv_bias,
            proj_weight,
            proj_bias,
            norm2_weight,
            norm2_bias,
            fc1_weight,
            fc1_bias,
            fc2_weight,
            fc2_bias,
        }
    }
}
