//! `vitcuda train`.

mod args;
mod batch;
mod card;
mod choices;
mod header;
mod recipe;
mod records;
mod start;

use std::io;
use std::path::{Path, PathBuf};

pub use args::TrainArgs;
use batch::BatchSizes;
use card::About;
use records::Records;
use start::Start;

use super::hub;
use super::images;
use super::model::RunFiles;
use super::output::{self, Outcome};
use super::{Global, interrupt};
use vitcuda::Error;
use vitcuda::data::source::{self, Splits};
use vitcuda::data::{Augmentation, Dataset, Loader, Preprocessor};
use vitcuda::device::Device;
use vitcuda::report::format::accuracy;
use vitcuda::report::verdict::{Finding, Tone};
use vitcuda::report::{Console, Event, JsonLines, Reporter, Reporters};
use vitcuda::train::RunLock;
use vitcuda::train::config::TrainConfig;
use vitcuda::train::engine::{Capacity, EpochBatches};
use vitcuda::train::engines::Opened;
use vitcuda::train::resume;
use vitcuda::train::source::BatchSource;
use vitcuda::train::trainer::{self, Job};

pub fn run(args: &TrainArgs, global: &Global) -> Outcome {
    args.outputs.check_direction()?;
    let device = global.device()?;
    let mut json = global.json.then(|| JsonLines::new(io::stdout()));
    let mut reporters = reporters(global, json.as_mut());
    let model = start::find(args, global)?;
    let spec = args.split.spec(args.data.as_deref(), global)?;
    let splits = source::open(&spec)?;
    let start = Start::new(model, args, &splits.classes)?;
    args.optimisation.freeze.check(&start.config)?;
    notices(&mut reporters, splits.notices.iter().chain(&start.notices));

    let Splits {
        classes,
        train,
        validation,
        ..
    } = splits;
    let (train, validation) = open_images(args, global, &start.preprocessor, train, validation)?;
    notices(&mut reporters, train.notices());
    notices(&mut reporters, validation.iter().flat_map(|v| v.notices()));

    let lock = lock(args)?;
    let opened = Opened::new(device)?;
    let sizes = BatchSizes::new(args, &opened, &start.config, train.len())?;
    let counts = train.dataset().class_counts(classes.len());
    let config = args.config(lock.folder(), &sizes, &counts, validation.is_some());
    let mut facts = vec![
        header::data(&spec.source, &classes, &train, validation.as_ref()),
        header::model(&start, args.optimisation.freeze),
        header::recipe(&config, args.augment),
    ];
    facts.extend(sizes.fact);
    let mut records = Records::new(&config, &start.config, start.origin);
    let mut listeners = Reporters(vec![Box::new(&mut reporters), Box::new(&mut records)]);
    let capacity = capacity(&config, train.len());
    let planned = opened.plan(start.config.clone(), config.hyper.clone(), capacity)?;
    listeners.event(&Event::Planned {
        facts: planned.facts(),
    });
    let lookup = start.preprocessor.lookup();
    let weights = resume::fingerprint(&start.params);
    let mut engine = planned.load(start.params, lookup)?;
    let model_name = start.name;
    let files = RunFiles {
        config: start.config,
        preprocessor: start.preprocessor,
    };
    let stop = interrupt::stop_flag()?;
    let job = Job {
        config: &config,
        lock: &lock,
        model_files: &files,
        origin: start.origin,
        facts,
        identity: identity(device, args, weights, &train, validation.as_ref()),
        next: header::next(&config.output_dir, args.data.as_deref()),
        stop: &stop,
    };
    let source = validation.as_ref().map(|v| v as &dyn BatchSource);
    let ended = trainer::train(engine.as_mut(), &train, source, &job, &mut listeners);
    drop(listeners);
    if ended.as_ref().err().is_none_or(records::is_worth_a_report) {
        let written = records.finish(&ended, validation.as_ref(), &classes);
        closing_words(&records, written, global);
    }
    let outcome = ended?;
    let about = About {
        args,
        config: &config,
        model: model_name,
        data: spec.source.to_string(),
        classes: &classes,
    };
    match card::write(&about, &outcome) {
        Ok(None) => {}
        Ok(Some(text)) => global.notice(text),
        Err(error) => global.notice(error),
    }
    drop(reporters);
    if let Some(json) = json {
        output::to_stdout(json.finish().map(drop))?;
    }
    if global.quiet && !global.json {
        result(&config, &outcome)
    } else {
        Ok(())
    }
}

/// What an engine has to have room for in an epoch of so many images.
fn capacity(config: &TrainConfig, examples: usize) -> Capacity {
    Capacity {
        training: Some(EpochBatches {
            examples,
            batch_size: config.train_batch_size,
        }),
        inference: config.eval_batch_size,
    }
}

/// The images that are trained on, and those that are evaluated if there are any.
fn open_images(
    args: &TrainArgs,
    global: &Global,
    preprocessor: &Preprocessor,
    train: Dataset,
    validation: Dataset,
) -> Result<(Loader, Option<Loader>), Error> {
    let open = |what, dataset, augmentation| {
        images::open(
            what,
            dataset,
            preprocessor,
            args.bad_images,
            augmentation,
            global,
        )
    };
    let augmentation = args.augment.under(args.split.seed);
    let train = open("reading training images", train, augmentation)?;
    let validation = if validation.is_empty() {
        None
    } else {
        Some(open(
            "reading validation images",
            validation,
            Augmentation::None,
        )?)
    };
    Ok((train, validation))
}

/// What a quiet run says: where the model is, and how good it is.
fn result(config: &TrainConfig, outcome: &vitcuda::train::Outcome) -> Outcome {
    output::result(config.output_dir.display())?;
    match &outcome.evaluation {
        Some(scored) => {
            let accuracy = accuracy(scored.correct(), scored.samples());
            output::result(format_args!("accuracy {accuracy}"))
        }
        None => Ok(()),
    }
}

/// By flag, what a resumed run must have in common with the run so far, besides its settings.
fn identity(
    device: Device,
    args: &TrainArgs,
    weights: String,
    train: &Loader,
    validation: Option<&Loader>,
) -> Vec<(&'static str, String)> {
    let fingerprint = |images: &Loader| images.dataset().fingerprint();
    vec![
        ("--device and --precision", device.numbers()),
        ("--augment", args.augment.name().to_owned()),
        ("weights at the start", weights),
        ("training images", fingerprint(train)),
        (
            "validation images",
            validation.map_or(String::new(), fingerprint),
        ),
    ]
}

/// People on stderr, machines on stdout.
fn reporters<'a>(global: &Global, json: Option<&'a mut JsonLines<io::Stdout>>) -> Reporters<'a> {
    let mut reporters = Reporters::default();
    if !global.quiet {
        reporters.0.push(Box::new(if global.json {
            Console::stderr()
        } else {
            Console::with_table_on_stdout()
        }));
    }
    if let Some(json) = json {
        reporters.0.push(Box::new(json));
    }
    reporters
}

/// The verdict, warnings in full, and where the report is. Whatever could not be written of it costs nobody the run.
fn closing_words(records: &Records, written: Result<Vec<Finding>, Error>, global: &Global) {
    for failure in records.failures().chain(written.as_ref().err()) {
        global.notice(failure);
    }
    let (Ok(findings), false) = (written, global.quiet) else {
        return;
    };
    output::notice("");
    for (i, finding) in findings.iter().enumerate() {
        let name = if i == 0 { "verdict" } else { "" };
        match finding.tone {
            Tone::Warning => {
                output::notice(format_args!(
                    "{name:<7} {}: {}",
                    finding.title, finding.text
                ));
            }
            Tone::Good | Tone::Neutral => {
                output::notice(format_args!("{name:<7} {}", finding.title))
            }
        }
    }
    output::notice(format_args!("report  {}", records.page().display()));
}

fn notices<S: ToString>(reporters: &mut Reporters, texts: impl IntoIterator<Item = S>) {
    for text in texts {
        let text = text.to_string();
        reporters.event(&Event::Notice { text });
    }
}

/// The name of a folder, or of a file without its ending.
fn local_name(data: &Path) -> String {
    let data = data.canonicalize().unwrap_or(data.to_owned());
    let name = if data.is_file() {
        data.file_stem()
    } else {
        data.file_name()
    };
    let name = name.unwrap_or("data".as_ref());
    name.to_string_lossy().into_owned()
}

/// The output folder, for this process alone: the one that is named, or a new one.
fn lock(args: &TrainArgs) -> Result<RunLock, Error> {
    match args.outputs.folder() {
        Some(folder) => RunLock::take(folder),
        None => RunLock::take_new(numbered_folders(args.data.as_deref())),
    }
}

/// `runs/NAME`, `runs/NAME-2`, …
fn numbered_folders(data: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let name = match data {
        None => "digits".to_owned(),
        Some(data) => match hub::id(data) {
            Some(id) => id.short_name().to_owned(),
            None => local_name(data),
        },
    };
    (1_u64..).map(move |n| match n {
        1 => Path::new("runs").join(&name),
        _ => Path::new("runs").join(format!("{name}-{n}")),
    })
}
