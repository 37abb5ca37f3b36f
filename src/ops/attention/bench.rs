//! What the benchmark times of attention: every token's, and the class token's of the last block.

use super::gpu::{self, Queries};
use super::{Attention, Qkv, Shape, backward, forward};
use crate::device::Gpu;
use crate::error::Result;
use crate::ops::bench::{Bench, Sizes, Stopwatch, Work, elements, random};

fn shape(sizes: &Sizes) -> Shape {
    let dims = sizes.dims;
    Shape {
        images: dims.batch,
        tokens: dims.tokens,
        heads: dims.heads,
        head_size: dims.width / dims.heads,
    }
}

/// The two passes, their values `bytes` wide.
fn work(shape: Shape, queries: Queries, bytes: usize) -> [Work; 2] {
    let name = match queries {
        Queries::EveryToken => "",
        Queries::ClassToken => "class token ",
    };
    let asking = shape.images * queries.count(shape.tokens);
    let (query, key_value) = (
        asking * shape.width(),
        2 * shape.images * shape.tokens * shape.width(),
    );
    let lse = 4 * asking * shape.heads;
    let product = 2 * query * shape.tokens;
    [
        Work {
            op: "attention",
            call: format!("{name}forward"),
            bytes: bytes * (query + key_value + query) + lse,
            flops: 2 * product,
        },
        Work {
            op: "attention",
            call: format!("{name}backward"),
            // q, k, v there and their gradients back; o and its gradient.
            bytes: bytes * (2 * (query + key_value) + 2 * query) + lse,
            flops: 5 * product,
        },
    ]
}

impl Bench for Attention {
    fn bench_cpu(&self, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape = shape(sizes);
        let tokens = shape.images * shape.tokens;
        let c = shape.width();
        let d_o = random(tokens * c);
        let (packed, mut d_packed) = (random(tokens * 3 * c), random(tokens * 3 * c));
        let (query, mut d_query) = (random(shape.images * c), random(shape.images * c));
        let (key_value, mut d_key_value) = (random(tokens * 2 * c), random(tokens * 2 * c));
        for queries in [Queries::EveryToken, Queries::ClassToken] {
            let asking = shape.images * queries.count(shape.tokens);
            let (mut o, mut lse) = (random(asking * c), random(asking * shape.heads));
            let d_o = &d_o[..o.len()];
            let qkv = || match queries {
                Queries::EveryToken => Qkv::Packed(packed.as_slice()),
                Queries::ClassToken => Qkv::ClassToken {
                    query: query.as_slice(),
                    key_value: key_value.as_slice(),
                },
            };
            let [there, back] = work(shape, queries, 4);
            watch.time(there, &mut || {
                forward(&mut o, &mut lse, qkv(), shape);
                Ok(())
            })?;
            watch.time(back, &mut || {
                let d_qkv = match queries {
                    Queries::EveryToken => Qkv::Packed(d_packed.as_mut_slice()),
                    Queries::ClassToken => Qkv::ClassToken {
                        query: d_query.as_mut_slice(),
                        key_value: d_key_value.as_mut_slice(),
                    },
                };
                backward(d_qkv, d_o, &o, &lse, qkv(), shape);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn bench_gpu(&self, gpu: &Gpu, sizes: &Sizes, watch: &mut dyn Stopwatch) -> Result<()> {
        let shape = shape(sizes);
        gpu::check(shape.head_size)?;
        let values = shape.images * shape.tokens * shape.width();
        let (qkv, d_qkv) = (elements(gpu, 3 * values)?, gpu.alloc(3 * values)?);
        for queries in [Queries::EveryToken, Queries::ClassToken] {
            let asking = shape.images * queries.count(shape.tokens);
            let (o, d_o) = (
                gpu.alloc(asking * shape.width())?,
                elements(gpu, asking * shape.width())?,
            );
            let lse = gpu.alloc(asking * shape.heads)?;
            let statistics = gpu.alloc(gpu::statistics(shape, queries))?;
            let parts = gpu::parts(gpu.properties(), shape, queries);
            let partials = gpu.alloc(parts * 3 * shape.width())?;
            let [there, back] = work(shape, queries, 2);
            let (o, lse, qkv) = (o.all(), lse.all(), qkv.all());
            watch.time(there, &mut || {
                gpu::forward(gpu, o, lse, qkv, shape, queries)
            })?;
            watch.time(back, &mut || {
                let (d_qkv, d_o) = (d_qkv.all(), d_o.all());
                let (statistics, sums) = (statistics.all(), partials.all());
                gpu::backward(
                    gpu, d_qkv, statistics, sums, d_o, o, qkv, lse, shape, queries,
                )
                .map(drop)
            })?;
        }
        Ok(())
    }
}
