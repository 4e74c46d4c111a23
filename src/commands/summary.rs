//! `summary`: what a network is made of.

use anyhow::Result;

use crate::cli::SummaryArgs;
use crate::figures::words::count;
use crate::nn::{self, Network, Node};
use crate::terminal::{say, say_apart};

pub(super) fn summary(arguments: &SummaryArgs) -> Result<()> {
    let network = arguments.network()?;
    table(&network).into_iter().for_each(say);
    say_apart(format!("{:>14}  trained numbers", count(network.parameter_count())));
    say(format!("{:>14}  multiply-adds for an image", count(network.multiply_adds())));
    let mib = nn::training_bytes(&network, arguments.batch).div_ceil(1 << 20);
    let batch = arguments.batch;
    say(format!(
        "{:>14}  MiB on the device for training in batches of {batch}, beside what kernels need while they run",
        count(mib)
    ));
    Ok(())
}

/// A line a layer: its block, its key and name, what it makes, its trained numbers, its multiply-adds for an image, and the rows of
/// the image that one of its values sees.
fn table(network: &Network) -> Vec<String> {
    let longest = network.nodes().iter().map(|node| node.key.len()).max().unwrap_or_default().max("layer".len());
    let line = |block: &str, [key, op, makes]: [&str; 3], [numbers, multiply_adds, sees]: [&str; 3]| {
        format!("{block:>5}  {key:longest$}  {op:17}  {makes:>15}  {numbers:>13}  {multiply_adds:>14}  {sees:>6}")
    };
    let heading = line("block", ["layer", "", "output"], ["parameters", "multiply-adds", "sees"]);
    let row = |node: &Node| {
        let [channels, height, width] = node.output;
        let makes =
            if [height, width] == [1, 1] { channels.to_string() } else { format!("{channels} x {height} x {width}") };
        let numbers: usize = node.parameters().iter().map(|parameter| parameter.layout.len()).sum();
        let block = node.block.map_or(String::new(), |block| (block + 1).to_string());
        let sees = node.field.size.min(network.input()[1]).to_string();
        let or_blank = |number: usize| if number == 0 { String::new() } else { count(number) };
        line(&block, [&node.key, node.op.name(), &makes], [&or_blank(numbers), &or_blank(node.multiply_adds()), &sees])
            .trim_end()
            .to_string()
    };
    std::iter::once(heading).chain(network.nodes().iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Strided;

    #[test]
    fn a_table_has_a_line_a_layer() {
        let network = Strided::dogs_vs_cats(128, 2).build().unwrap();
        let lines = table(&network);
        assert_eq!(lines.len(), 1 + 25);
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(2), ["1", "1", "Conv2d", "16", "x", "63", "x", "63", "432", "1,714,608", "3"]);
        assert_eq!(words(24), ["23", "Linear", "64", "16,448", "16,384", "127"]);
    }
}
