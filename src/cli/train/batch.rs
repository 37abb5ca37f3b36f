//! The batch sizes of a run.

use super::args::TrainArgs;
use super::recipe::Recipe;
use vitcuda::Result;
use vitcuda::model::config::VitConfig;
use vitcuda::report::Fact;
use vitcuda::report::format::thousands;
use vitcuda::train::batch_size::{self, BatchSize, Length, Limits};
use vitcuda::train::engines::Opened;
use vitcuda::train::resume;

/// Images in a micro-batch, in an evaluation batch, and for `auto` a line about how it came to that.
pub struct BatchSizes {
    pub train: usize,
    pub eval: usize,
    pub fact: Option<Fact>,
}

impl BatchSizes {
    /// What `args` ask for, in a run on `device` that trains `model` on `examples` images.
    pub fn new(
        args: &TrainArgs,
        device: &Opened,
        model: &VitConfig,
        examples: usize,
    ) -> Result<Self> {
        let recipe = Recipe::of(args.data.as_deref());
        let asked = args.optimisation.batch_size;
        let (train, fact) = match asked.unwrap_or(BatchSize::Images(recipe.batch_size)) {
            BatchSize::Images(images) => (images, None),
            BatchSize::Auto => {
                let (images, why) = auto(args, &recipe, device, model, examples)?;
                let text = format!("{} images, by auto: {why}", thousands(images as u64));
                (images, Some(Fact::new("batch", text)))
            }
        };
        let eval = match args.outputs.eval_batch_size {
            BatchSize::Images(images) => images,
            BatchSize::Auto => train,
        };
        Ok(Self { train, eval, fact })
    }
}

/// A run that goes on keeps its number, whatever memory there is now.
fn auto(
    args: &TrainArgs,
    recipe: &Recipe,
    device: &Opened,
    model: &VitConfig,
    examples: usize,
) -> Result<(usize, String)> {
    let (optimisation, outputs) = (&args.optimisation, &args.outputs);
    if let Some((resume, folder)) = outputs.resume().zip(outputs.folder())
        && let Some(images) = resume::batch_size(&folder, &resume)?
    {
        return Ok((images, "the choice of the run so far".into()));
    }
    // Evaluating as many as in a micro-batch needs no memory of its own.
    let evaluated = match outputs.eval_batch_size {
        BatchSize::Images(images) => images,
        BatchSize::Auto => 1,
    };
    let limits = Limits::of(device, model, optimisation.freeze, examples, evaluated)?;
    let epochs = optimisation.epochs.unwrap_or(recipe.epochs);
    let length = Length {
        examples,
        epochs: optimisation.max_steps().is_none().then_some(epochs),
        accumulation: optimisation.gradient_accumulation_steps,
    };
    let choice = batch_size::choose(length, &limits);
    Ok((choice.images, choice.why))
}
