//! Many machines at once.

use microagent_backend::{Exit, State};

use crate::case::case;
use crate::failure::{Result, same};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[case!(T4, [], machines_do_not_disturb_each_other)];

/// How many machines are "many" on a small host without acceleration.
const MANY: usize = 4;

async fn machines_do_not_disturb_each_other(context: Context) -> Result {
    let spec = context.spec(&Script::new([Step::say("begun")], End::Reset))?;
    let mut subjects = Vec::new();
    for n in 0..MANY {
        subjects.push(context.make(&format!("m{n}"), &spec).await?);
    }
    let killed = subjects.swap_remove(0);
    killed.machine.kill().await?;
    for subject in &subjects {
        subject.is(State::Created).await?;
        subject.machine.start().await?;
    }
    killed.destroyed().await?;
    for subject in &subjects {
        same("exit", subject.exit().await?, Exit::Reset)?;
        subject.has_said("begun")?;
        subject.destroyed().await?;
    }
    Ok(())
}
