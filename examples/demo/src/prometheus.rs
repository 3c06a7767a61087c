//! Starts a Prometheus.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::{Process, cluster::get, wait::until_ready};

/// Starts Prometheus on this loopback port and waits until it is ready. `scrape` is the content of `scrape_configs`,
/// indented by two spaces; `seconds` is the scrape interval. The data is stored in `folder`.
pub fn start(folder: &Path, port: u16, seconds: u32, scrape: &str) -> Result<Process> {
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: {seconds}s, scrape_timeout: 900ms}}\nscrape_configs:\n{scrape}"
    );
    fs::write(&config, text)?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("prometheus").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(folder);
    let mut started = Some(Process::start("prometheus", folder, &mut command)?);
    let ready = format!("http://127.0.0.1:{port}/-/ready");
    until_ready(&mut started, || get(&ready).is_ok())?;
    started.ok_or_else(|| anyhow::anyhow!("prometheus is gone"))
}
