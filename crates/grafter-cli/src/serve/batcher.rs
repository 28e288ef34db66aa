//! The one thread that computes: it takes what waits, whatever request and task it is of, and answers it in one batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use grafter::predict::{Query, logits, of_row};

use super::Server;
use super::queue::{Job, NotComputed};

/// Computes until the queue is closed and empty.
pub fn run(server: &Server) {
    let limits = &server.limits;
    while let Some(batch) = server.queue.next_batch(limits.max_batch_tokens, limits.batch_window) {
        answer(server, batch);
    }
}

fn answer(server: &Server, batch: Vec<Job>) {
    let began = Instant::now();
    let tokens: usize = batch.iter().map(Job::tokens).sum();
    let queries: Vec<Query<'_>> = batch
        .iter()
        .flat_map(|job| {
            let task = job.asked.adapter.parameters();
            job.asked.sequences.iter().map(move |tokens| Query { tokens, task })
        })
        .collect();
    let encoder = server.model.encoder();
    // Nothing of the computation outlives it but buffers that each pass fills anew.
    let computed = catch_unwind(AssertUnwindSafe(|| logits(encoder, &queries)));
    server.metrics.batch(batch.len(), tokens, began.elapsed());
    let failed = computed.is_err();
    server.metrics.panics.fetch_add(failed.into(), Ordering::Relaxed);
    let mut computed = computed.unwrap_or_default().into_iter();
    for job in batch {
        server.metrics.row(&job.asked.task, job.came.elapsed(), !failed);
        let logits = of_row(job.asked.sequences.len(), &mut computed);
        job.answer(if failed { Err(NotComputed::Failed) } else { Ok(logits) });
    }
}
