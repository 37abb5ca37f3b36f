use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use safetensors::SafeTensors;
use vitcuda::data::decode::decode;
use vitcuda::data::preprocess::{Size, Target};
use vitcuda::data::resize::Filter;
use vitcuda::data::{Preprocessor, Rgb};

use crate::common::with_shared;
use crate::pictures::{crc32, noise};
use crate::plain;

pub fn trials() -> Vec<Trial> {
    let golden = "golden/preprocess";
    vec![
        with_shared(
            "lossless images resize as the reference's",
            golden,
            lossless,
        ),
        with_shared("JPEGs decode and resize as the reference's", golden, jpegs),
        with_shared(
            "the lookup table is the reference's to the bit",
            golden,
            lookup,
        ),
        with_shared(
            "pixel values are the reference's to the bit",
            golden,
            pixel_values,
        ),
        with_shared(
            "the written file is the reference's",
            "golden/hf_trainer_run",
            written,
        ),
        with_shared("real preprocessor files are read", "models", real_files),
        plain("each class resizes and crops as transformers'", classes),
        plain(
            "each class has transformers' mean where the file has none",
            class_statistics,
        ),
        plain("every form of preprocessor_config.json is read", forms),
        plain("what is written is read back", read_back),
        plain(
            "a wrong preprocessor_config.json is named with its key",
            wrong,
        ),
        plain("another image size keeps the proportions", image_size),
    ]
}

/// What is compared: the file, and the name of its result.
fn golden(folder: &Path, file: &str) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let preprocessor = Preprocessor::read(&folder.join("preprocessor_config.json"))?;
    let image = decode(&std::fs::read(folder.join("images").join(file))?)?;
    let bytes = std::fs::read(folder.join("resized_u8.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    // With alpha the picture on white is meant; with EXIF the one that stands upright.
    let name = match file {
        "rgba.png" => "rgba.png@white",
        "exif_rotate6.jpg" => "exif_rotate6.jpg@transposed",
        _ => file,
    };
    Ok((
        preprocessor.apply(&image),
        tensors.tensor(name)?.data().to_vec(),
    ))
}

fn lossless(folder: &Path) -> Result<(), Failed> {
    for file in [
        "rgb_lossless.png",
        "rgb_small_lossless.png",
        "palette.png",
        "rgba.png",
    ] {
        let (found, wanted) = golden(folder, file)?;
        assert!(found == wanted, "{file}");
    }
    Ok(())
}

fn jpegs(folder: &Path) -> Result<(), Failed> {
    for file in std::fs::read_dir(folder.join("images"))? {
        let file = file?.file_name().into_string().expect("a plain name");
        if file.ends_with(".jpg") {
            let (found, wanted) = golden(folder, &file)?;
            assert!(found == wanted, "{file}");
        }
    }
    Ok(())
}

fn f32s(tensors: &SafeTensors, name: &str) -> Result<Vec<f32>, Failed> {
    let data = tensors.tensor(name)?.data().to_vec();
    Ok(data
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect())
}

fn lookup(folder: &Path) -> Result<(), Failed> {
    let bytes = std::fs::read(folder.join("u8_to_f32_lut.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let half = f32s(&tensors, "mean_std_0.5")?;
    let found = Preprocessor::new(224).lookup();
    assert!(found.iter().all(|channel| channel[..] == half[..]));
    let mut imagenet = Preprocessor::new(224);
    let normalize = imagenet.normalize.as_mut().expect("the default normalises");
    normalize.mean = [0.485, 0.456, 0.406];
    normalize.std = [0.229, 0.224, 0.225];
    assert_eq!(imagenet.lookup().concat(), f32s(&tensors, "imagenet_rgb")?);
    Ok(())
}

fn pixel_values(folder: &Path) -> Result<(), Failed> {
    let (planes, _) = golden(folder, "rgb_lossless.png")?;
    let table = Preprocessor::read(&folder.join("preprocessor_config.json"))?.lookup();
    let found: Vec<f32> = planes
        .chunks_exact(224 * 224)
        .zip(&table)
        .flat_map(|(plane, table)| plane.iter().map(|&v| table[usize::from(v)]))
        .collect();
    let bytes = std::fs::read(folder.join("pixel_values_f32.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let name = tensors.names()[0].to_owned();
    assert!(found == f32s(&tensors, &name)?);
    Ok(())
}

fn written(folder: &Path) -> Result<(), Failed> {
    let path = folder.join("lr2e-5-ep1/preprocessor_config.json");
    let text = std::fs::read_to_string(&path)?;
    assert_eq!(Preprocessor::read(&path)?.to_json(), text);
    Ok(())
}

fn real_files(folder: &Path) -> Result<(), Failed> {
    let vit = Preprocessor::read(&folder.join("vit-small-patch14-224/preprocessor_config.json"))?;
    assert_eq!(vit.target, Target::Squash(Size::square(224)));
    assert_eq!((vit.filter, vit.crop), (Filter::Bilinear, None));
    let dino = Preprocessor::read(&folder.join("dinov2-small/preprocessor_config.json"))?;
    assert_eq!(dino.target, Target::ShortestEdge(256));
    assert_eq!(
        (dino.filter, dino.crop),
        (Filter::Bicubic, Some(Size::square(224)))
    );
    Ok(())
}

fn parse(text: &str) -> vitcuda::Result<Preprocessor> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("preprocessor_config.json");
    std::fs::write(&path, text).expect("a file");
    Preprocessor::read(&path)
}

const SIZES: [(usize, usize); 7] = [
    (97, 61),
    (61, 97),
    (50, 203),
    (36, 36),
    (41, 300),
    (499, 375),
    (333, 500),
];

/// CRC-32 of what the classes make of `noise` in each of [`SIZES`] (`processors.py`).
fn classes() {
    for (text, wanted) in [
        (
            r#"{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36},
                "crop_size": {"height": 32, "width": 32}}"#,
            [
                0x6a3677d8, 0x94847ee3, 0x57ed2c93, 0xc2a63791, 0x242cbf2b, 0x46a1de4f, 0x29765ba3,
            ],
        ),
        // As published with DINOv2.
        (
            r#"{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "resample": 3}"#,
            [
                0x62709e78, 0x6f751752, 0x9dccada1, 0x1f2fdbb4, 0xb0e88dc5, 0x741ca5af, 0xb7d484a4,
            ],
        ),
        (
            r#"{"image_processor_type": "CLIPImageProcessorFast"}"#,
            [
                0xaa7deb33, 0xed0c8014, 0xfbdc050e, 0xa036526b, 0x89577931, 0x3d93994e, 0x634ed1c6,
            ],
        ),
        // As published with DeiT: to a square of 256 whatever the aspect, then the middle of it.
        (
            r#"{"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224,
                "do_center_crop": true, "resample": 3}"#,
            DEIT,
        ),
        (r#"{"image_processor_type": "DeiTImageProcessor"}"#, DEIT),
        (
            r#"{"image_processor_type": "ViTImageProcessor"}"#,
            [
                0xad41a2a6, 0xb381b862, 0x53f7cea0, 0x9a7d2f60, 0x17932c6f, 0x8ba4cfe4, 0x9b671ed7,
            ],
        ),
    ] {
        let preprocessor = parse(text).expect("a right file");
        let found = SIZES.map(|(width, height)| crc32(&preprocessor.apply(&noise(width, height))));
        assert_eq!(found, wanted, "{text}");
    }
}

const DEIT: [u32; 7] = [
    0x839ddeb1, 0xa3ea7570, 0x64db0954, 0x1f2fdbb4, 0xaa350ea8, 0xa5e77b87, 0xcba5a92e,
];

fn class_statistics() {
    let mean = |class: &str| {
        let text = format!(r#"{{"image_processor_type": "{class}"}}"#);
        let normalize = parse(&text).expect("a right file").normalize;
        normalize.expect("the default normalises").mean[0]
    };
    assert_eq!(mean("BitImageProcessor"), 0.48145466);
    assert_eq!(mean("CLIPImageProcessor"), 0.48145466);
    assert_eq!(mean("DeiTImageProcessor"), 0.5);
}

fn forms() {
    let target = |text: &str| parse(text).expect("a right file").target;
    let square = |side: usize| Target::Squash(Size::square(side));
    let oblong = Target::Squash(Size {
        height: 64,
        width: 96,
    });
    assert_eq!(target("{}"), square(224));
    assert_eq!(target(r#"{"size": 384}"#), square(384));
    assert_eq!(target(r#"{"size": [96, 64]}"#), oblong);
    assert_eq!(target(r#"{"size": {"height": 64, "width": 96}}"#), oblong);
    let cropped = r#"{"size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": 224}"#;
    assert_eq!(target(cropped), Target::ShortestEdge(256));
    let clip =
        r#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}"#;
    assert_eq!(target(clip), Target::ShortestEdge(224));
    // The file of the published in21k checkpoints, which leaves out what was the default then.
    let old = parse(
        r#"{"do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5], "size": 224}"#,
    );
    assert_eq!(old.expect("a right file"), Preprocessor::new(224));
    let plain = parse(r#"{"do_rescale": false, "do_normalize": false}"#).expect("a right file");
    assert_eq!(plain.lookup()[1][200], 200.0);
}

fn read_back() {
    let texts = [
        "{}",
        r#"{"size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": 224}"#,
        r#"{"size": [40, 30], "resample": 1, "do_rescale": false, "do_normalize": false}"#,
    ];
    for text in texts {
        let once = parse(text).expect("a right file");
        assert_eq!(parse(&once.to_json()).expect("our own file"), once);
    }
}

fn wrong() {
    for (text, wanted) in [
        ("", "is not JSON"),
        ("[1]", "holds a list, wanted an object"),
        (
            r#"{"size": "big"}"#,
            "key `size` is \"big\", wanted a side in pixels",
        ),
        (r#"{"size": 0}"#, "key `size` is 0"),
        (r#"{"size": 1e9}"#, "key `size` is 1000000000.0"),
        (
            r#"{"size": {"height": 224}}"#,
            "key `size` is {\"height\":224}",
        ),
        (r#"{"size": {"shortest_edge": 224}}"#, "nothing is cropped"),
        (
            r#"{"size": 200, "do_center_crop": true, "crop_size": 224}"#,
            "`crop_size` is larger than `size`",
        ),
        (
            r#"{"resample": 0}"#,
            "key `resample` is 0, wanted 1 (Lanczos)",
        ),
        (r#"{"do_resize": false}"#, "key `do_resize` is false"),
        (
            r#"{"do_rescale": 1}"#,
            "key `do_rescale` is 1, wanted true or false",
        ),
        (
            r#"{"image_mean": [0.5]}"#,
            "key `image_mean` is [0.5], wanted three numbers",
        ),
        (
            r#"{"image_std": [1, 1, 0]}"#,
            "key `image_std` holds a number that is not above 0",
        ),
    ] {
        let error = parse(text).expect_err(text);
        let message = error.to_string();
        assert!(message.contains(wanted), "{text}: {message}");
        assert!(message.contains("preprocessor_config.json"), "{message}");
        assert_eq!(error.exit_code(), 4);
    }
    let missing = Preprocessor::read(Path::new("/no/such/preprocessor_config.json"));
    assert_eq!(missing.expect_err("no file").exit_code(), 4);
}

fn image_size() {
    let sizes = |p: &Preprocessor| (p.target, p.crop, p.output_size());
    let square = Size::square;
    let vit = Preprocessor::new(224).with_image_size(384);
    assert_eq!(
        sizes(&vit),
        (Target::Squash(square(384)), None, square(384))
    );
    let text = r#"{"size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": 224}"#;
    let dino = parse(text).expect("a right file").with_image_size(448);
    let wanted = (Target::ShortestEdge(512), Some(square(448)), square(448));
    assert_eq!(sizes(&dino), wanted);
    let lengths: BTreeSet<usize> = [(1, 900), (900, 1), (448, 448)]
        .map(|(w, h)| dino.apply(&Rgb::new(w, h, vec![9; 3 * w * h])).len())
        .into();
    assert_eq!(lengths, BTreeSet::from([3 * 448 * 448]));
}
