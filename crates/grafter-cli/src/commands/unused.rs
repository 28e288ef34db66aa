//! Flags that would do nothing are refused: who gives one believes that it does something.

use grafter::adapter::{Method, Pooling};
use grafter::data::TaskKind;
use grafter::graft::GraftError;
use grafter::text::listed;

use crate::args::SharedTrainingArgs;
use crate::failure::Failure;

/// Refuses the first flag about adapters that is given where no method has any. Whether there are widths and standard deviations
/// is told beside the settings, as some commands take one of them and others several.
pub fn refuse_without_adapters(
    methods: &[Method],
    settings: &SharedTrainingArgs,
    (has_bottleneck, has_init_std): (bool, bool),
) -> Result<(), Failure> {
    if methods.iter().any(|method| method.has_adapters()) {
        return Ok(());
    }
    let flags = [
        ("--bottleneck", has_bottleneck),
        ("--init-std", has_init_std),
        ("--activation", settings.activation.is_some()),
        ("--adapt-from-layer", settings.adapt_from_layer > 0),
    ];
    let Some((option, _)) = flags.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    Err(GraftError::Option {
        option,
        found: format!("given for {}", listed(methods.iter().map(Method::to_string), methods.len())),
        expected: "a method with adapters, houlsby or pfeiffer".to_owned(),
    }
    .into())
}

/// Refuses the mean where no task reads a text as a whole; what else does not fit is refused by each task itself.
pub fn refuse_mean_of_words(pooling: Option<Pooling>, kinds: &[TaskKind]) -> Result<(), Failure> {
    match kinds.first() {
        Some(kind) if pooling == Some(Pooling::Mean) && kinds.iter().all(|kind| kind.reads_words()) => {
            let (found, expected) = (Pooling::Mean.to_string(), format!("words for {kind}"));
            Err(GraftError::Option { option: "--pooling", found, expected }.into())
        }
        _ => Ok(()),
    }
}
