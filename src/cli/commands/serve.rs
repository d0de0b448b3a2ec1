//! `sdviz serve`: the page, live, for one lecturer or a class.

use crate::cli::args::ServeArgs;
use crate::cli::report::Talk;
use crate::cli::{interrupt, plan};
use crate::error::{Error, Result as LibResult};
use crate::model::resolve::{self, ModelChoice};
use crate::pipeline::Pipeline;
use crate::serve::{self, Codes, Limits, Server, Settings};
use anyhow::Result;
use qrcode::QrCode;
use qrcode::render::unicode;
use std::process::ExitCode;
use std::time::Duration;

/// Runs that wait at a time, of all visitors together.
const QUEUE: usize = 1000;
/// Letters of a prompt: some pages.
const PROMPT: usize = 8000;

/// How many folders that are passed over are named.
const NAMED: usize = 5;

/// Loads the model, opens the door, and answers until Ctrl-C.
pub fn run(args: &ServeArgs, talk: Talk) -> Result<ExitCode> {
    let settings = settings(args)?;
    let model = if args.read_only { None } else { Some(load(args, talk)?) };
    let server = Server::open(settings.clone(), model.as_ref().map(|(pipeline, _)| pipeline))?;
    tell(&server, &settings, talk);
    let interrupted = interrupt::listen(talk)?;
    let ended = async move {
        while !interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    server.run(model, ended)?;
    Ok(ExitCode::SUCCESS)
}

fn load(args: &ServeArgs, talk: Talk) -> Result<(Pipeline, ModelChoice)> {
    let options = plan::load_options_with(&args.model.loading, args.preview_vae.as_ref())?;
    let choice = resolve::resolve_with(args.model.model.as_deref(), args.model.loading.vae.as_deref())?;
    talk.say(format!("model: {} ({})", choice.id, choice.chosen_by));
    let pipeline = Pipeline::load(&choice, options)?;
    pipeline.notes().iter().for_each(|note| talk.warn(note));
    Ok((pipeline, choice))
}

/// What was typed as the server takes it.
fn settings(args: &ServeArgs) -> LibResult<Settings> {
    let join = match args.join_code.as_deref() {
        Some("none") => None,
        None if args.listen.is_loopback() => None,
        None => Some(serve::code()),
        Some(code) if serve::is_code(code) => Some(code.to_ascii_uppercase()),
        Some(code) => {
            let hint = "write four letters or digits or more, or `none`";
            return Err(Error::invalid(format!("`{code}` cannot be a join code"), hint));
        }
    };
    let limits = Limits {
        steps: args.max_steps,
        size: args.max_size,
        pictures: args.max_pictures,
        queue_per_visitor: args.queue_per_visitor,
        queue: QUEUE,
        seconds: args.max_seconds,
        prompt: PROMPT,
    };
    Ok(Settings {
        runs: args.runs.clone(),
        address: args.listen,
        port: args.port,
        host_names: args.host_name.clone(),
        codes: join.map(|join| Codes { join, host: format!("{}{}", serve::code(), serve::code()) }),
        read_only: args.read_only,
        limits,
    })
}

/// Says where the page is and how one comes in.
fn tell(server: &Server, settings: &Settings, talk: Talk) {
    if server.left() > 0 {
        talk.say(format!("queue: {} left by the last server", server.left()));
    }
    // The page cannot miss what it does not know of.
    let passed_over = server.passed_over();
    if !passed_over.is_empty() {
        let named: Vec<&str> = passed_over.iter().take(NAMED).map(String::as_str).collect();
        let more = passed_over.len() - named.len();
        let more = if more > 0 { format!("; … and {more} more") } else { String::new() };
        talk.warn(format!("{} folders with runs are not shown: {}{more}", passed_over.len(), named.join("; ")));
    }
    let Some(codes) = &settings.codes else {
        talk.say(format!("the page is at {}; Ctrl-C ends the server", server.address(None)));
        return;
    };
    let address = server.address(Some(&codes.join));
    if let Ok(code) = QrCode::new(&address) {
        // Terminals are mostly dark: what is printed is the light part.
        let (dark, light) = (unicode::Dense1x2::Light, unicode::Dense1x2::Dark);
        talk.say(code.render::<unicode::Dense1x2>().dark_color(dark).light_color(light).build());
    }
    talk.say(format!("for the room:     {address}"));
    talk.say(format!("join code:        {}", codes.join));
    talk.say(format!("for the lecturer: {}", server.address(Some(&codes.host))));
    talk.say("what is sent can be listened to by others in the network; Ctrl-C ends the server");
}
