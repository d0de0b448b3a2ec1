//! The flags of a sweep's axes, made from the table of fields: whoever adds a field there has its flag here.
//!
//! Enters: the command line. Leaves: the texts that were given to each axis, in the order in which the axes were named.

use crate::sweep::field::{FIELDS, Field};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// What was typed for the axes: a field's name, or `replace`, and the texts of its flags; first named, first here.
#[derive(Debug, Clone, Default)]
pub struct AxisArgs(pub Vec<(String, Vec<String>)>);

/// The flag that exchanges words of the prompt.
pub const REPLACE_FLAG: &str = "replace";

const HEADING: &str = "Axes: lists `5,25,50`, ranges `1-10`, `1-10 (+3)`, `1-10 [4]`";

fn flag(field: &Field) -> Arg {
    let flag = Arg::new(field.name)
        .long(field.flag)
        .aliases(field.aliases.iter().copied())
        .value_name(field.value_name)
        .help(field.help)
        .help_heading(HEADING)
        .allow_negative_numbers(true)
        .action(ArgAction::Append);
    match field.short {
        Some(letter) => flag.short(letter),
        None => flag,
    }
}

impl Args for AxisArgs {
    fn augment_args(command: Command) -> Command {
        let command = FIELDS.iter().fold(command, |command, field| command.arg(flag(field)));
        command.arg(
            Arg::new(REPLACE_FLAG)
                .long(REPLACE_FLAG)
                .value_name("WORDS=LIST")
                .help(
                    "Exchange words of the prompt: `cat=cat,dog,owl`, `red=red,` to leave them away, `style:flat=flat,glossy` \
                     to name the axis; repeat it for another axis",
                )
                .help_heading(HEADING)
                .action(ArgAction::Append),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AxisArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut axes = AxisArgs::default();
        axes.update_from_arg_matches(matches)?;
        Ok(axes)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut found = vec![];
        for name in FIELDS.iter().map(|f| f.name).chain([REPLACE_FLAG]) {
            let (Some(texts), Some(mut places)) = (matches.get_many::<String>(name), matches.indices_of(name)) else {
                continue;
            };
            found.push((places.next().unwrap_or_default(), (name.to_string(), texts.cloned().collect())));
        }
        found.sort_by_key(|(place, _)| *place);
        self.0 = found.into_iter().map(|(_, axis)| axis).collect();
        Ok(())
    }
}
