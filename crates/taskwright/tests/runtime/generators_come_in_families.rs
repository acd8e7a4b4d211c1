//! Generators of a family come and go at run time, and those that wait for somebody hold up no other.

use std::sync::Arc;

use taskwright::core::generator::Definition;
use taskwright::generator::{Family, Generator, GeneratorSet, Next, Poll, PollError, Polled};
use taskwright::{Duties, DutyConfig, Namespace};
use tokio::sync::Notify;

use crate::generators::{Scripted, nothing};
use crate::support::{Notes, World, seconds, world};

/// Generators `hook:NAME` that note their names, and wait for the gate if they are called `hook:slow-...`.
struct Hooks {
    asked: Notes<String>,
    gate: Arc<Notify>,
}

struct Hook {
    name: String,
    asked: Notes<String>,
    gate: Arc<Notify>,
}

impl Family for Hooks {
    type Member = Hook;

    fn prefix(&self) -> &str {
        "hook:"
    }

    fn make(&self, definition: &Definition) -> Result<Hook, PollError> {
        if definition.window == 7 {
            return Err("7 is not liked".into());
        }
        let (asked, gate) = (self.asked.clone(), Arc::clone(&self.gate));
        Ok(Hook { name: definition.name.to_string(), asked, gate })
    }

    fn turns_max(&self) -> usize {
        4
    }
}

impl Generator for Hook {
    fn name(&self) -> &str {
        &self.name
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        self.asked.add(self.name.clone());
        if self.name.starts_with("hook:slow-") {
            self.gate.notified().await;
        }
        Ok(nothing(poll, Next::Notified))
    }
}

async fn register(world: &World, name: &str, window: u32) -> bool {
    let definition = Definition { window, ..Definition::new(name.parse().unwrap()) };
    world.client.generators().register(&definition, serde_json::Value::Null).await.unwrap()
}

fn node(world: &World, hooks: Hooks, asked: &Notes<String>) -> Duties {
    let single = asked.clone();
    let single = Scripted::new(move |poll: Poll| {
        single.add("feed".to_owned());
        async move { Ok(nothing(poll, Next::Idle)) }
    });
    let generators = GeneratorSet::new().with_family(hooks).unwrap().with(single).unwrap();
    Duties::start(&world.store(), &world.sim.env(), &DutyConfig { generators, ..DutyConfig::default() })
}

fn hooks() -> (Hooks, Notes<String>, Arc<Notify>) {
    let (asked, gate) = (Notes::new(), Arc::new(Notify::new()));
    (Hooks { asked: asked.clone(), gate: Arc::clone(&gate) }, asked, gate)
}

#[test]
fn one_that_is_registered_while_nodes_run_is_asked_and_one_that_is_removed_is_not() {
    world(async |world| {
        let (hooks, asked, _) = hooks();
        let _node = node(&world, hooks, &asked);
        world.sim.advance(seconds(5)).await;
        assert!(register(&world, "hook:a", 100).await && register(&world, "other:b", 100).await);
        assert!(!register(&world, "hook:a", 100).await, "it is there already");
        world.sim.advance(seconds(5)).await;
        let of_hook = |asked: &Notes<String>| asked.all().iter().filter(|name| *name == "hook:a").count();
        assert_eq!(of_hook(&asked), 1, "{:?}", asked.all());

        let (generators, namespace) = (world.client.generators(), Namespace::default());
        let name = "hook:a".parse().unwrap();
        generators.notify(&namespace, &name).await.unwrap();
        world.sim.advance(seconds(5)).await;
        assert_eq!(of_hook(&asked), 2);
        assert!(generators.remove(&namespace, &name).await.unwrap());
        world.sim.advance(seconds(600)).await;
        assert_eq!(of_hook(&asked), 2);
        assert!(!asked.all().contains(&"other:b".to_owned()), "nobody knows that one");
    });
}

#[test]
fn those_that_wait_hold_up_their_own_family_and_no_other_generator() {
    world(async |world| {
        let (hooks, asked, gate) = hooks();
        for n in 0..6 {
            register(&world, &format!("hook:slow-{n}"), 100).await;
        }
        let _node = node(&world, hooks, &asked);
        world.sim.advance(seconds(10)).await;
        let slow = || asked.all().iter().filter(|name| name.starts_with("hook:slow-")).count();
        let single = || asked.all().iter().filter(|name| *name == "feed").count();
        assert_eq!(slow(), 4, "as many as one node asks of the family at a time");
        assert!(single() >= 3, "{:?}", asked.all());
        // Four are let go, and the two others have their turn.
        gate.notify_waiters();
        world.sim.advance(seconds(1)).await;
        assert_eq!(slow(), 6);
    });
}

#[test]
fn one_that_cannot_be_made_fails_like_any_other_and_says_why() {
    world(async |world| {
        let (hooks, asked, _) = hooks();
        register(&world, "hook:bad", 7).await;
        let _node = node(&world, hooks, &asked);
        world.sim.advance(seconds(10)).await;
        let bad = world.client.generators().get(&Namespace::default(), &"hook:bad".parse().unwrap()).await;
        let record = bad.unwrap().unwrap().record;
        assert_eq!(record.last_error.as_deref(), Some("7 is not liked"));
        assert!(record.failures > 1);
    });
}

#[test]
fn names_that_could_be_of_two_are_refused() {
    let family = |prefix: &'static str| {
        struct Named(&'static str);
        impl Family for Named {
            type Member = Hook;
            fn prefix(&self) -> &str {
                self.0
            }
            fn make(&self, _: &Definition) -> Result<Hook, PollError> {
                Err("there is none".into())
            }
        }
        Named(prefix)
    };
    let hook = |name: &str| Hook { name: name.to_owned(), asked: Notes::new(), gate: Arc::default() };
    let set = || GeneratorSet::new().with_family(family("hook:")).unwrap();
    assert!(set().with_family(family("hook:")).unwrap_err().is_invalid());
    assert!(set().with_family(family("hook:a")).unwrap_err().is_invalid());
    assert!(set().with_family(family("h")).unwrap_err().is_invalid());
    assert!(set().with_family(family("not a name")).unwrap_err().is_invalid());
    assert!(set().with(hook("hook:a")).unwrap_err().is_invalid());
    assert!(GeneratorSet::new().with(hook("hook:a")).unwrap().with_family(family("hook:")).is_err());
    assert!(set().with_family(family("other:")).unwrap().with(hook("single")).is_ok());
}
