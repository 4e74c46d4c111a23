//! What the page does not show, and the commands that make it again.

use maud::{Markup, html};

use super::{DRAWN, Made, Report};
use crate::figures::words::with_code;
use crate::study::layers::Layers;
use crate::terminal::quoted;
use crate::train::Which;

/// The part of the page.
pub fn part(report: &Report) -> Markup {
    html! {
        ul {
            li { "One network from one seed. Another seed gives other weights, other channels and other mistakes." }
            @match &report.made {
                Made::Trained(_) => li { "The validation images chose the epoch, so the accuracy in the head is a little too good." },
                Made::Imported(given) => {
                    li { (given.imported.caution()) }
                    @if given.imported.drawn { li { "Note: " (DRAWN) "." } }
                }
            }
            @if report.looked.is_ok() { li { "The galleries show extremes, not the rule." } }
            li { "Evidence tells how much each place and channel of the last maps counts, not what in the image they answer to." }
            @if !report.explained.is_empty() {
                li { "A saliency map that passes its tests can still mislead; one that does not pass was not shown to be right." }
            }
            @if let Some((_, table)) = &report.layers { li { (with_code(&table.limits)) } }
            @if let Some(study) = &report.depth { li { (study.limits()) } }
            @if let Made::Trained(trained) = &report.made {
                @if trained.config.data.is_none() {
                    li { "The images were drawn by the program: what is found here says little of photos." }
                }
            }
        }
        h3 { "The commands" }
        pre { code { (commands(report).join("\n")) } }
        @if let Made::Trained(trained) = &report.made {
            p.note {
                "The same seed on the same adapter, driver and version, with the same kernels and tiles, gives the same weights, bit for bit. "
                @match &trained.environment {
                    Some(environment) => {
                        "This run: convscope " (environment.convscope) ", " (environment.adapter) ", " (environment.driver) " "
                        (environment.driver_info) ", " (environment.kernels_shown()) "."
                    }
                    None => "Where this run was made is not known.",
                }
            }
        }
    }
}

/// In the order in which they are to be run, for a run beside the one that there is; of a network that was trained elsewhere, for it.
fn commands(report: &Report) -> Vec<String> {
    let layers = report.layers.as_ref().map_or_else(String::new, |(_, table)| options(table));
    let trained = match &report.made {
        Made::Trained(trained) => trained,
        Made::Imported(_) => {
            let run = report.judged();
            return vec![
                format!("convscope layers --run {run}{layers}"),
                format!("convscope learned --run {run}"),
                format!("convscope explain --run {run}"),
                format!("convscope report {run}"),
            ];
        }
    };
    let run = quoted(&format!("{}-again", report.run.display()));
    let environment = trained.environment.as_ref();
    let processes = environment.and_then(|environment| environment.processes);
    let together = processes.map_or(String::new(), |processes| format!("mpirun -n {processes} "));
    let kernels =
        environment.map_or(String::new(), |environment| format!(" --kernels {}", quoted(&environment.kernels)));
    let mut commands = vec![
        format!("{together}{}{kernels} --out {run}", trained.config.command()),
        format!("convscope layers --run {run}{layers}"),
        format!("convscope learned --run {run}"),
        format!("convscope explain --run {run}"),
    ];
    match &report.depth {
        Some(study) => {
            let folder = quoted(&study.folder.display().to_string());
            commands.push(study.command());
            commands.push(format!("convscope report {run} --depth {folder}"));
        }
        None => commands.push(format!("convscope report {run}")),
    }
    commands
}

/// The options of `layers` that a table was made with.
fn options(table: &Layers) -> String {
    let Layers { weights, images, seed, .. } = table;
    let best = if weights == Which::Best.file() { " --weights best" } else { "" };
    format!("{best} --images {images} --seed {seed}")
}
