//! From a configured subject to one that can be watched and acted on.

mod cache;

use std::{path::PathBuf, sync::Arc, thread};

use operator_config::{
    Config, Environment, Faults, Loaded, Origin, Origins, PluginConfig, SubjectConfig, check_needs,
};
use operator_loader::{self as loader, CallError, LoadError, Observer, Plugin, SubjectSpec};
use operator_plugin_api::Descriptor;
use tokio::{sync::oneshot, time::timeout};

pub use cache::PluginCache;

/// Why a subject cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// The plugin file cannot be found or is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin does not describe itself.
    #[error("plugin {plugin}: {source}")]
    Describe {
        /// Name of the plugin.
        plugin: String,
        /// Why.
        source: CallError,
    },
    /// The plugin declares its configuration by a schema that cannot be used.
    #[error("plugin {plugin}: {why}; tell the author of the plugin")]
    Schema {
        /// Name of the plugin.
        plugin: String,
        /// Why.
        why: String,
    },
    /// The subject's configuration does not fit the plugin.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The subject's configuration does not grant what the plugin needs.
    #[error(transparent)]
    NotGranted(Faults),
}

/// What connecting to a subject needs in addition to its own configuration.
#[derive(Debug, Clone)]
pub struct SubjectContext {
    /// Where bare plugin names are looked up.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where the private copies of plugins are.
    pub copies: PathBuf,
    /// Where each setting was set.
    pub origins: Origins,
    /// Variables that plugins may declare.
    pub environment: Environment,
    /// What is known of plugin files already.
    pub cache: PluginCache,
}

impl SubjectContext {
    /// Of a loaded configuration.
    pub fn new(loaded: &Loaded, environment: &Environment) -> Self {
        Self {
            plugin_dirs: loaded.config.plugin_dirs.clone(),
            copies: copies(&loaded.config),
            origins: loaded.origins.clone(),
            environment: environment.clone(),
            cache: PluginCache::default(),
        }
    }
}

fn copies(config: &Config) -> PathBuf {
    config.state_dir.join("plugins")
}

/// A subject whose plugin has been examined and described, and which has not been contacted yet.
#[derive(Debug)]
pub struct PreparedSubject {
    /// The plugin file.
    pub plugin: Arc<Plugin>,
    /// The plugin's description of itself.
    pub descriptor: Arc<Descriptor>,
    /// What the plugin is given.
    pub settings: PluginConfig,
    /// Through which it is watched.
    pub observer: Observer,
}

/// Finds and examines the plugin of a subject, running none of its code.
pub fn open(subject: &SubjectConfig, around: &SubjectContext) -> Result<Plugin, LoadError> {
    let path = loader::find_plugin(&subject.plugin, &around.plugin_dirs)?;
    around
        .cache
        .open(&path, subject.sha256.as_deref(), &around.copies)
}

/// Lets a plugin describe itself.
pub async fn describe(
    subject: &SubjectConfig,
    plugin: &Plugin,
) -> Result<Descriptor, SubjectError> {
    let described = loader::describe(
        plugin,
        subject.isolation,
        &subject.sandbox,
        subject.deadlines.create,
    )
    .await;
    described.map_err(|error| match error {
        CallError::Load(error) => error.into(),
        source => SubjectError::Describe {
            plugin: plugin.manifest.name.clone(),
            source,
        },
    })
}

/// Describes the plugin of a subject, unless it has described itself already, and proves the subject's configuration. Contacts
/// nothing.
pub async fn start(
    subject: &SubjectConfig,
    plugin: Arc<Plugin>,
    around: &SubjectContext,
) -> Result<PreparedSubject, SubjectError> {
    check_needs(subject, &plugin.manifest, &around.origins).map_err(SubjectError::NotGranted)?;
    let known = around.cache.descriptor(&plugin.sha256, subject);
    let descriptor = match known {
        Some(descriptor) => descriptor,
        None => describe(subject, &plugin).await?,
    };
    around.cache.keep(&plugin.sha256, subject, &descriptor);
    prepare(subject, plugin, descriptor, around).await
}

/// The same with a descriptor that the plugin gave before. Starts nothing.
pub async fn prepare(
    subject: &SubjectConfig,
    plugin: Arc<Plugin>,
    descriptor: Descriptor,
    around: &SubjectContext,
) -> Result<PreparedSubject, SubjectError> {
    check_needs(subject, &plugin.manifest, &around.origins).map_err(SubjectError::NotGranted)?;
    let (settings, descriptor) = resolve(subject, &plugin, descriptor, around).await?;
    let observer = loader::connect(SubjectSpec {
        name: subject.name.clone(),
        plugin: plugin.clone(),
        config: settings.values.clone(),
        isolation: subject.isolation,
        sandbox: settings.sandbox.clone(),
        deadlines: subject.deadlines,
    });
    Ok(PreparedSubject {
        plugin,
        descriptor: Arc::new(descriptor),
        settings,
        observer,
    })
}

/// Compares the subject's configuration with the plugin's schema, on a thread of its own: the plugin's author decides how long
/// that takes. Within the deadline of `create`.
async fn resolve(
    subject: &SubjectConfig,
    plugin: &Plugin,
    descriptor: Descriptor,
    around: &SubjectContext,
) -> Result<(PluginConfig, Descriptor), SubjectError> {
    let unusable = |why: String| SubjectError::Schema {
        plugin: plugin.manifest.name.clone(),
        why,
    };
    let (send, resolved) = oneshot::channel();
    let (subject_config, around) = (subject.clone(), around.clone());
    // A thread that is never waited for: it must not keep the process from ending.
    thread::Builder::new()
        .name("settings".to_owned())
        .spawn(move || {
            let (origins, environment) = (&around.origins, &around.environment);
            let settings =
                PluginConfig::resolve(&subject_config, &descriptor, origins, environment);
            let _ = send.send((settings, descriptor));
        })
        .map_err(|error| unusable(format!("no thread can be started: {error}")))?;
    let deadline = subject.deadlines.create;
    match timeout(deadline, resolved).await {
        Ok(Ok((Ok(settings), descriptor))) => Ok((settings, descriptor)),
        Ok(Ok((Err(faults), _))) => Err(match of_plugin(&faults) {
            Some(why) => unusable(why),
            None => faults.into(),
        }),
        Ok(Err(_)) => Err(unusable(
            "the comparison of the configuration with its schema panicked".to_owned(),
        )),
        Err(_) => Err(unusable(format!(
            "to compare the configuration with its schema took longer than the deadline of {} s",
            deadline.as_secs_f64()
        ))),
    }
}

/// What is wrong with the plugin's own schema, if that is what is wrong.
fn of_plugin(faults: &Faults) -> Option<String> {
    let mut faults = faults.0.iter();
    let fault = faults.find(|fault| matches!(fault.origin, Origin::Plugin(_)))?;
    Some(fault.what.clone())
}
