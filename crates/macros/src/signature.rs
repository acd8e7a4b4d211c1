//! What the parameters of the function are: arguments of the job, or what the worker brings.

use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, Pat, PatType, Result, Type};

/// One parameter, in the order of the function.
pub(crate) enum Parameter {
    /// A field of the job's arguments.
    Argument(Box<Argument>),
    /// The context itself, owned or not.
    Context { by_reference: bool },
    /// `#[state]`: a value that the registry was given.
    State { of: Box<Type> },
    /// `#[from]`: made of the context.
    From { of: Box<Type>, by: By },
    /// `#[tx]`: made of the context, and completed with the job.
    Transaction { of: Box<Type> },
}

/// A field of the job's arguments.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) of: Type,
    /// Documentation, and what serde is to know.
    pub(crate) attributes: Vec<Attribute>,
}

/// How a function takes something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Value,
    Reference,
    MutableReference,
}

/// Reads the parameters, and takes from them what only we understand.
pub(crate) fn read(function: &mut ItemFn) -> Result<Vec<Parameter>> {
    let generics = &function.sig.generics;
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        let why = "a task is one kind of work: it has no generic parameters; write one task for each type";
        return Err(Error::new(generics.span(), why));
    }
    // Whoever makes several mistakes hears of them at once.
    let mut mistakes: Option<Error> = None;
    let mut parameters = Vec::new();
    for input in &mut function.sig.inputs {
        match parameter(input) {
            Ok(parameter) => parameters.push(parameter),
            Err(error) => match &mut mistakes {
                Some(mistakes) => mistakes.combine(error),
                None => mistakes = Some(error),
            },
        }
    }
    mistakes.map_or(Ok(parameters), Err)
}

/// Takes away what the compiler would not understand, so that it has nothing to add to our own message.
pub(crate) fn strip(function: &mut ItemFn) {
    for input in &mut function.sig.inputs {
        let (FnArg::Typed(PatType { attrs, .. }) | FnArg::Receiver(syn::Receiver { attrs, .. })) = input;
        attrs.retain(|attribute| !is_ours(attribute) && !is_of_field(attribute));
    }
}

fn parameter(input: &mut FnArg) -> Result<Parameter> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            let why =
                "a task is a function of its own and no method: its parameters are the arguments of the job";
            return Err(Error::new(receiver.span(), why));
        }
    };
    let (ours, others): (Vec<_>, Vec<_>) = typed.attrs.drain(..).partition(is_ours);
    let (of_field, others) = others.into_iter().partition(is_of_field);
    typed.attrs = others;
    if let [_, second, ..] = &ours[..] {
        return Err(Error::new(second.span(), "one of `#[state]`, `#[from]` and `#[tx]` to a parameter"));
    }
    let (by, of) = taken(&typed.ty);
    match ours.first() {
        Some(ours) if ours.path().is_ident("state") => match by {
            By::Reference => Ok(Parameter::State { of: Box::new(of.clone()) }),
            _ => Err(Error::new(typed.ty.span(), format!("state is shared: take it as `&{}`", shown(of)))),
        },
        Some(ours) if ours.path().is_ident("tx") => match by {
            By::MutableReference => Ok(Parameter::Transaction { of: Box::new(of.clone()) }),
            _ => {
                let why = format!("the transaction is committed for you: take it as `&mut {}`", shown(of));
                Err(Error::new(typed.ty.span(), why))
            }
        },
        Some(_) => Ok(Parameter::From { of: Box::new(of.clone()), by }),
        None if is_context(of) => match by {
            By::MutableReference => {
                Err(Error::new(typed.ty.span(), "the context is shared: take it as `&Context`"))
            }
            by => Ok(Parameter::Context { by_reference: by == By::Reference }),
        },
        None => argument(typed, of_field),
    }
}

fn argument(typed: &PatType, attributes: Vec<Attribute>) -> Result<Parameter> {
    let name = match &*typed.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => pattern.ident.clone(),
        pattern => {
            let why = "an argument of a job has a name: take the whole, and take it apart in the function";
            return Err(Error::new(pattern.span(), why));
        }
    };
    match &*typed.ty {
        Type::Reference(reference) => {
            let owned = match shown(&reference.elem).as_str() {
                "str" => "String".to_owned(),
                other => match other.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    Some(element) => format!("Vec<{element}>"),
                    None => other.to_owned(),
                },
            };
            let why = format!(
                "arguments of a job are stored, so they own what they hold: write `{name}: {owned}`; what the program \
                 shares with its tasks is `#[state] {name}: {}`",
                shown(&typed.ty)
            );
            Err(Error::new(typed.ty.span(), why))
        }
        Type::ImplTrait(of) => {
            Err(Error::new(of.span(), "arguments of a job are stored, so each has one type: name it"))
        }
        of => Ok(Parameter::Argument(Box::new(Argument { name, of: of.clone(), attributes }))),
    }
}

/// How a parameter takes its type, and the type.
fn taken(of: &Type) -> (By, &Type) {
    match of {
        Type::Reference(reference) if reference.mutability.is_some() => {
            (By::MutableReference, &reference.elem)
        }
        Type::Reference(reference) => (By::Reference, &reference.elem),
        of => (By::Value, of),
    }
}

/// Types have no meaning yet here: what is called `Context` is taken for it.
fn is_context(of: &Type) -> bool {
    let Type::Path(path) = of else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Context" && last.arguments.is_empty())
}

fn is_ours(attribute: &Attribute) -> bool {
    ["state", "from", "tx"].iter().any(|name| attribute.path().is_ident(name))
}

fn is_of_field(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde") || attribute.path().is_ident("doc")
}

/// A type as people write it, near enough for a message.
fn shown(of: &Type) -> String {
    let text = quote::quote!(#of).to_string();
    text.replace(" < ", "<").replace(" >", ">").replace(" :: ", "::").replace("& ", "&").replace(" , ", ", ")
}
