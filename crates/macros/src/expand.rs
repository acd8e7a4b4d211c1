//! The type and the `impl Task` beside the function.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, ItemFn, Lit, LitStr, Path, Result, ReturnType, parse_quote};

use crate::options::{Options, ScheduleOptions, Unique};
use crate::signature::{self, Argument, By, Parameter};

/// The function, and what stands beside it; with mistakes, the function and what is wrong.
pub(crate) fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: ItemFn = match syn::parse2(item) {
        Ok(function) => function,
        Err(error) => {
            return Error::new(
                error.span(),
                "`#[task]` stands before a function: `async fn welcome(user: u64) -> ..`",
            )
            .into_compile_error();
        }
    };
    let expanded = expand(options, &mut function);
    signature::strip(&mut function);
    let beside = expanded.unwrap_or_else(Error::into_compile_error);
    quote! { #function #beside }
}

fn expand(options: TokenStream, function: &mut ItemFn) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    check(&options, function)?;
    let parameters = signature::read(function)?;
    let task = Task { options: &options, function, parameters: &parameters };
    task.check()?;
    Ok(task.tokens())
}

fn check(options: &Options, function: &ItemFn) -> Result<()> {
    if options.kind.is_none() {
        let why = format!(
            "jobs keep the name of their task: say which, as in `#[task(\"{}\")]`",
            function.sig.ident.to_string().replace('_', ".")
        );
        return Err(Error::new(Span::call_site(), why));
    }
    let runs_elsewhere = options.blocking.or(options.process);
    match (&function.sig.asyncness, options.blocking, runs_elsewhere) {
        (Some(keyword), Some(_), _) => {
            let why =
                "a `blocking` function has a thread of its own and is not `async`; leave one of the two out";
            return Err(Error::new(keyword.span(), why));
        }
        (None, _, None) => {
            let why = "a task is an `async fn`; one that blocks its thread is `#[task(.., blocking)]`";
            return Err(Error::new(function.sig.fn_token.span(), why));
        }
        _ => {}
    }
    if let (None, Some((name, limit))) = (options.process, options.limits.first()) {
        let why = format!("`{name}` can only be kept by a process of the task's own: say `process` as well");
        return Err(Error::new(limit.span(), why));
    }
    match (&options.version, &options.upgrade) {
        (Some(version), None) if version.base10_digits() != "1" => {
            let why = "jobs of earlier versions may wait: say what makes this one of them, `upgrade = upgrade_welcome`";
            Err(Error::new(version.span(), why))
        }
        (None, Some(upgrade)) => {
            Err(Error::new(upgrade.span(), "say which version the arguments have now: `version = 2`"))
        }
        _ => Ok(()),
    }
}

/// What is to be written.
struct Task<'a> {
    options: &'a Options,
    function: &'a ItemFn,
    parameters: &'a [Parameter],
}

impl Task<'_> {
    fn check(&self) -> Result<()> {
        if let Some(Unique { fields: Some(fields), .. }) = &self.options.unique {
            for field in fields {
                if !self.arguments().any(|argument| argument.name == *field) {
                    return Err(Error::new(field.span(), format!("there is no argument `{field}`")));
                }
            }
        }
        let mut transactions =
            self.parameters.iter().filter(|one| matches!(one, Parameter::Transaction { .. }));
        if let (Some(Parameter::Transaction { of }), second) = (transactions.next(), transactions.next()) {
            if self.options.process.is_some() {
                let why = "a process of its own has no way to the store of the job, and completes nothing there: leave out `process` or `#[tx]`";
                return Err(Error::new(of.span(), why));
            }
            if self.function.sig.asyncness.is_none() {
                let why = "a function that blocks has no transaction of its own: begin one in it, and call `ctx.complete_in`";
                return Err(Error::new(of.span(), why));
            }
            if let Some(Parameter::Transaction { of }) = second {
                return Err(Error::new(of.span(), "a job is completed in one transaction"));
            }
        }
        let mut unnamed = self.options.schedules.iter().filter(|schedule| schedule.name.is_none());
        if let Some(second) = unnamed.nth(1) {
            return Err(Error::new(second.span, "give each schedule a name: `name = \"reports.nightly\"`"));
        }
        Ok(())
    }

    fn arguments(&self) -> impl Iterator<Item = &Argument> {
        self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Argument(argument) => Some(&**argument),
            _ => None,
        })
    }

    fn taskwright(&self) -> Path {
        self.options.taskwright.clone().unwrap_or_else(|| parse_quote!(::taskwright))
    }

    fn name(&self) -> Ident {
        let function = &self.function.sig.ident;
        let of_function = || Ident::new(&upper_camel(&function.to_string()), function.span());
        self.options.name.clone().unwrap_or_else(of_function)
    }

    fn tokens(&self) -> TokenStream {
        let (taskwright, name) = (self.taskwright(), self.name());
        let of_type = self.type_tokens();
        let (checks, consts) = (self.checks(), self.consts());
        let functions = self.functions();
        let (output, run) = (self.output(), self.run());
        quote! {
            #of_type
            #checks

            #[automatically_derived]
            impl #taskwright::Task for #name {
                #consts
                type Output = #output;
                #functions
                #run
            }

            #[automatically_derived]
            impl ::core::convert::From<#name> for #taskwright::Job {
                fn from(task: #name) -> Self {
                    Self::of(&task)
                }
            }

            #[automatically_derived]
            impl #taskwright::Enqueue for #name {
                type Output = <Self as #taskwright::Task>::Output;
            }
        }
    }

    /// The type whose fields are the arguments.
    fn type_tokens(&self) -> TokenStream {
        let (taskwright, name, visibility) = (self.taskwright(), self.name(), &self.function.vis);
        let serde = quote!(#taskwright::__private::serde);
        let serde_path = serde.to_string().replace(' ', "");
        let is_documentation = |attribute: &&Attribute| attribute.path().is_ident("doc");
        let documentation: Vec<_> = self.function.attrs.iter().filter(is_documentation).collect();
        let is_condition = |attribute: &&Attribute| attribute.path().is_ident("cfg");
        let conditions: Vec<_> = self.function.attrs.iter().filter(is_condition).collect();
        let function = &self.function.sig.ident;
        let about = format!("A job that calls [`{function}`]; the fields are its arguments.");
        let derive = &self.options.derive;
        if self.arguments().next().is_none() {
            // Nothing is read: a schedule or a person may write `{}` as well as `null`.
            return quote! {
                #(#conditions)*
                #(#documentation)*
                #[doc = ""]
                #[doc = #about]
                #[derive(#serde::Serialize, #(#derive),*)]
                #[serde(crate = #serde_path)]
                #visibility struct #name;

                #[automatically_derived]
                impl<'de> #serde::Deserialize<'de> for #name {
                    fn deserialize<D: #serde::Deserializer<'de>>(from: D) -> ::core::result::Result<Self, D::Error> {
                        <#serde::de::IgnoredAny as #serde::Deserialize>::deserialize(from)?;
                        ::core::result::Result::Ok(Self)
                    }
                }
            };
        }
        let fields = self.arguments().map(|Argument { name, of, attributes }| {
            quote! { #(#attributes)* #visibility #name: #of }
        });
        quote! {
            #(#conditions)*
            #(#documentation)*
            #[doc = ""]
            #[doc = #about]
            #[derive(#serde::Serialize, #serde::Deserialize, #(#derive),*)]
            #[serde(crate = #serde_path)]
            #[allow(missing_docs)]
            #visibility struct #name { #(#fields),* }
        }
    }

    /// What the compiler is to check, where it is written.
    fn checks(&self) -> TokenStream {
        let taskwright = self.taskwright();
        let kinds = self.options.kind.iter().chain(&self.options.aliases);
        let names = kinds
            .chain(&self.options.queue)
            .chain(self.options.schedules.iter().filter_map(|schedule| schedule.name.as_ref()));
        let names =
            names.map(|name| quote_spanned!(name.span()=> #taskwright::__private::check_name(#name);));
        let (options, limits) = (self.options, &self.options.limits);
        let timeouts = [&options.timeout, &options.cancel_grace, &limits.max_cpu_time].into_iter().flatten();
        let times = timeouts.map(|time| {
            let time = self.duration(time);
            quote_spanned!(time.span()=> let _: ::core::time::Duration = #time;)
        });
        let attempts = self.max_attempts().map(|attempts| quote!(let _ = #attempts;));
        let memory = limits.max_rss.as_ref().map(|size| {
            let size = self.size(size);
            quote!(let _: u64 = #size;)
        });
        let nice = limits.nice.as_ref().map(|nice| {
            let nice = self.nice(nice);
            quote!(let _: u8 = #nice;)
        });
        quote! {
            const _: () = {
                #(#names)*
                #(#times)*
                #memory
                #nice
                #attempts
            };
        }
    }

    fn consts(&self) -> TokenStream {
        let (taskwright, options) = (self.taskwright(), self.options);
        let kind = &options.kind;
        let mut consts = quote! { const KIND: &'static str = #kind; };
        let mut add = |tokens: TokenStream| consts.extend(tokens);
        if let Some(queue) = &options.queue {
            add(quote! { const QUEUE: &'static str = #queue; });
        }
        if let Some(priority) = &options.priority {
            let priority = self.priority(priority);
            add(quote! { const PRIORITY: #taskwright::Priority = #priority; });
        }
        if let Some(timeout) = &options.timeout {
            let timeout = self.duration(timeout);
            add(quote! {
                const TIMEOUT: ::core::option::Option<::core::time::Duration> = ::core::option::Option::Some(#timeout);
            });
        }
        if let Some(grace) = &options.cancel_grace {
            let grace = self.duration(grace);
            add(quote! { const CANCEL_GRACE: ::core::time::Duration = #grace; });
        }
        if options.at_most_once.is_some() {
            add(quote! { const DELIVERY: #taskwright::Delivery = #taskwright::Delivery::AtMostOnce; });
        }
        if let Some(weight) = &options.weight {
            add(quote! { const WEIGHT: #taskwright::Weight = #weight; });
        }
        if let Some(max) = &options.snoozes_max {
            add(quote! { const SNOOZES_MAX: u32 = #max; });
        }
        if let Some(policy) = &options.on_shutdown {
            add(quote! {
                const ON_SHUTDOWN: ::core::option::Option<#taskwright::OnShutdown> = ::core::option::Option::Some(#policy);
            });
        }
        if !options.aliases.is_empty() {
            let aliases = &options.aliases;
            add(quote! { const ALIASES: &'static [&'static str] = &[#(#aliases),*]; });
        }
        if let Some(version) = &options.version {
            add(quote! { const VERSION: u32 = #version; });
        }
        if options.process.is_some() {
            add(quote! { const IN_CHILD: bool = true; });
        }
        if options.limits.first().is_some() {
            let limits = self.limits();
            add(quote! { const LIMITS: #taskwright::Limits = #limits; });
        }
        consts
    }

    fn limits(&self) -> TokenStream {
        let (taskwright, limits) = (self.taskwright(), &self.options.limits);
        let fields = [
            ("max_rss", limits.max_rss.as_ref().map(|size| self.size(size))),
            ("max_cpu_time", limits.max_cpu_time.as_ref().map(|time| self.duration(time))),
            ("nice", limits.nice.as_ref().map(|nice| self.nice(nice))),
            ("ionice", limits.ionice.as_ref().map(|class| quote!(#class))),
        ];
        let fields = fields.into_iter().map(|(name, value)| {
            let name = Ident::new(name, Span::call_site());
            match value {
                Some(value) => quote!(#name: ::core::option::Option::Some(#value)),
                None => quote!(#name: ::core::option::Option::None),
            }
        });
        quote!(#taskwright::Limits { #(#fields),* })
    }

    fn functions(&self) -> TokenStream {
        let (taskwright, options) = (self.taskwright(), self.options);
        let mut functions = TokenStream::new();
        if let Some(attempts) = self.max_attempts() {
            functions.extend(quote! {
                fn max_attempts() -> #taskwright::MaxAttempts {
                    #attempts
                }
            });
        }
        if let Some(backoff) = &options.backoff {
            functions.extend(quote! {
                fn backoff() -> #taskwright::Backoff {
                    #backoff
                }
            });
        }
        if let Some(unique) = &options.unique {
            functions.extend(self.unique(unique));
        }
        if let Some(upgrade) = &options.upgrade {
            functions.extend(quote! {
                fn upgrade(
                    from: u32,
                    args: #taskwright::__private::Value,
                ) -> ::core::result::Result<#taskwright::__private::Value, #taskwright::TaskError> {
                    #upgrade(from, args)
                }
            });
        }
        if !options.schedules.is_empty() {
            let schedules = options.schedules.iter().map(|schedule| self.schedule(schedule));
            functions.extend(quote! {
                fn schedules() -> ::core::result::Result<
                    ::std::vec::Vec<#taskwright::Schedule>,
                    #taskwright::core::Error,
                > {
                    ::core::result::Result::Ok(::std::vec![#(#schedules),*])
                }
            });
        }
        functions
    }

    fn unique(&self, unique: &Unique) -> TokenStream {
        let taskwright = self.taskwright();
        let key = match &unique.fields {
            None => quote!(self),
            Some(fields) => quote_spanned!(unique.span=> &(#(&self.#fields,)*)),
        };
        let scope = match unique.active {
            true => quote!(Active),
            false => quote!(Waiting),
        };
        quote! {
            fn unique(&self) -> ::core::result::Result<
                ::core::option::Option<#taskwright::UniqueKey>,
                #taskwright::core::Error,
            > {
                #taskwright::__private::unique(#key, #taskwright::UniqueScope::#scope)
            }
        }
    }

    fn schedule(&self, schedule: &ScheduleOptions) -> TokenStream {
        let taskwright = self.taskwright();
        let optional = |text: &Option<LitStr>| match text {
            Some(text) => quote!(::core::option::Option::Some(#text)),
            None => quote!(::core::option::Option::None),
        };
        let name = optional(&schedule.name);
        let (timezone, args) = (optional(&schedule.timezone), optional(&schedule.args));
        let (form, says) = (schedule.trigger.0.to_string(), &schedule.trigger.1);
        quote!(#taskwright::__private::schedule::<Self>(#name, (#form, #says), #timezone, #args)?)
    }

    fn output(&self) -> TokenStream {
        let taskwright = self.taskwright();
        let returned = self.returned();
        quote_spanned!(returned.span()=> <#returned as #taskwright::__private::Returned>::Output)
    }

    fn returned(&self) -> TokenStream {
        match &self.function.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, of) => quote!(#of),
        }
    }

    /// Brings what the function takes, and calls it.
    fn run(&self) -> TokenStream {
        let (taskwright, function) = (self.taskwright(), &self.function.sig.ident);
        let (mut before, mut within, mut given) = (TokenStream::new(), TokenStream::new(), Vec::new());
        let mut transaction = None;
        for (number, parameter) in self.parameters.iter().enumerate() {
            let brought = format_ident!("__brought_{number}");
            match parameter {
                Parameter::Argument(argument) => given.push({
                    let name = &argument.name;
                    quote!(__task.#name)
                }),
                Parameter::Context { by_reference: true } => given.push(quote!(&__ctx)),
                Parameter::Context { by_reference: false } => {
                    given.push(quote!(::core::clone::Clone::clone(&__ctx)));
                }
                Parameter::State { of } => {
                    within.extend(quote_spanned!(of.span()=> let #brought = __ctx.state::<#of>()?;));
                    given.push(quote!(#brought));
                }
                Parameter::From { of, by } => {
                    before.extend(from_context(&taskwright, of, &brought, *by == By::MutableReference));
                    given.push(match by {
                        By::Value => quote!(#brought),
                        By::Reference => quote!(&#brought),
                        By::MutableReference => quote!(&mut #brought),
                    });
                }
                Parameter::Transaction { of } => {
                    before.extend(from_context(&taskwright, of, &brought, true));
                    given.push(quote!(&mut #brought));
                    transaction = Some(brought);
                }
            }
        }
        let returned = self.returned();
        let into_result = quote!(<#returned as #taskwright::__private::Returned>::into_result);
        let call = quote!(#function(#(#given),*));
        let work = if self.function.sig.asyncness.is_none() {
            quote! {
                __ctx.blocking(move |__ctx| {
                    #within
                    #into_result(#call)
                }).await
            }
        } else if let Some(transaction) = transaction {
            quote! {
                #within
                let __output = #into_result(#call.await)?;
                #taskwright::CompleteIn::complete(#transaction, &__ctx, &__output).await?;
                ::core::result::Result::Ok(__output)
            }
        } else {
            quote! {
                #within
                #into_result(#call.await)
            }
        };
        let task = match self.arguments().next() {
            Some(_) => quote!(let __task = self;),
            None => TokenStream::new(),
        };
        // With a context that is not used a function is as good as with one that is.
        quote! {
            async fn run(
                self,
                __ctx: #taskwright::Context,
            ) -> ::core::result::Result<Self::Output, #taskwright::TaskError> {
                #task
                let _ = &__ctx;
                #before
                #work
            }
        }
    }

    /// A time limit: a text like `"30s"`, or any expression.
    fn duration(&self, time: &Expr) -> TokenStream {
        let taskwright = self.taskwright();
        match text(time) {
            Some(text) => quote_spanned!(text.span()=> #taskwright::__private::duration(#text)),
            None => quote!(#time),
        }
    }

    /// An amount of memory: a text like `"512MiB"`, or any expression.
    fn size(&self, size: &Expr) -> TokenStream {
        let taskwright = self.taskwright();
        match text(size) {
            Some(text) => quote_spanned!(text.span()=> #taskwright::__private::size(#text)),
            None => quote!(#size),
        }
    }

    fn nice(&self, nice: &Expr) -> TokenStream {
        let taskwright = self.taskwright();
        quote_spanned!(nice.span()=> #taskwright::__private::nice(#nice))
    }

    /// A band by its name, a number, or any other expression.
    fn priority(&self, priority: &Expr) -> TokenStream {
        let taskwright = self.taskwright();
        let band = |name: &str, span: Span| {
            let band = Ident::new(&name.to_uppercase(), span);
            quote!(#taskwright::Priority::#band)
        };
        match priority {
            Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => match syn::parse_str::<Ident>(&name.value()) {
                Ok(_) => band(&name.value(), name.span()),
                Err(_) => Error::new(name.span(), "write a band, as in `priority = high`, or a number")
                    .into_compile_error(),
            },
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => quote!(#taskwright::Priority(#number)),
            Expr::Path(path)
                if path
                    .path
                    .get_ident()
                    .is_some_and(|name| name.to_string().chars().all(|c| c.is_ascii_lowercase())) =>
            {
                let name = path.path.segments[0].ident.clone();
                band(&name.to_string(), name.span())
            }
            other => quote!(#other),
        }
    }

    /// A number, `none`, or any other expression.
    fn max_attempts(&self) -> Option<TokenStream> {
        let taskwright = self.taskwright();
        Some(match self.options.max_attempts.as_ref()? {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => {
                quote_spanned!(number.span()=> #taskwright::__private::max_attempts(#number))
            }
            Expr::Path(path) if path.path.is_ident("none") => quote!(#taskwright::MaxAttempts::Unlimited),
            other => quote!(#other),
        })
    }
}

fn from_context(taskwright: &Path, of: &syn::Type, name: &Ident, is_mutable: bool) -> TokenStream {
    let mutable = is_mutable.then(|| quote!(mut));
    quote_spanned!(of.span()=> let #mutable #name = <#of as #taskwright::FromContext>::from_context(&__ctx).await?;)
}

fn text(expression: &Expr) -> Option<&LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        _ => None,
    }
}

/// `send_welcome` becomes `SendWelcome`.
fn upper_camel(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    let words = name.split('_').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(char::to_uppercase).into_iter().flatten().chain(letters).collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_after_its_function() {
        assert_eq!(upper_camel("welcome"), "Welcome");
        assert_eq!(upper_camel("send_welcome_2"), "SendWelcome2");
        assert_eq!(upper_camel("_r"), "R");
    }

    /// The first mistake in a task.
    fn mistakes(options: &str, function: &str) -> Vec<String> {
        let mut function: ItemFn = syn::parse_str(function).unwrap();
        let error = expand(options.parse().unwrap(), &mut function).err();
        error.into_iter().flatten().map(|error| error.to_string()).collect()
    }

    #[test]
    fn mistakes_are_told_in_words() {
        const SOME: &str = "async fn f(a: u64) {}";
        let cases = [
            ("", SOME),
            ("\"f\", queu = \"q\"", SOME),
            ("\"f\", frequency = 3", SOME),
            ("\"f\", queue", SOME),
            ("\"f\", queue = 3", SOME),
            ("\"f\", queue = \"a\", queue = \"b\"", SOME),
            ("\"f\", kind = \"g\"", SOME),
            ("\"f\", blocking = true", SOME),
            ("\"f\", blocking", SOME),
            ("\"f\", unique(b)", SOME),
            ("\"f\", unique, unique_active", SOME),
            ("\"f\", version = 2", SOME),
            ("\"f\", upgrade = u", SOME),
            ("\"f\", schedule()", SOME),
            ("\"f\", schedule(cron = \"* * * * *\", every = \"1h\")", SOME),
            ("\"f\", schedule(crn = \"* * * * *\")", SOME),
            ("\"f\", schedule(every = \"1h\"), schedule(every = \"2h\")", SOME),
            ("\"f\", max_cpu_time = \"1m\"", SOME),
            ("\"f\", process, nice", SOME),
            ("\"f\", process", "async fn f(#[tx] b: &mut Tx) {}"),
            ("\"f\"", "fn f(a: u64) {}"),
            ("\"f\"", "async fn f(&self, a: &str, b: &[u8], c: impl Into<u64>, (d, e): (u64, u64)) {}"),
            ("\"f\"", "async fn f<T: Serialize>(a: T) {}"),
            ("\"f\"", "async fn f(#[state] a: Mailer, #[tx] b: Tx, ctx: &mut Context) {}"),
            ("\"f\"", "async fn f(#[state] #[from] a: &Mailer, #[tx] b: &mut Tx, #[tx] c: &mut Tx) {}"),
            ("\"f\"", "async fn f(#[tx] b: &mut Tx, #[tx] c: &mut Tx) {}"),
            ("\"f\", blocking", "fn f(#[tx] b: &mut Tx) {}"),
        ];
        let told: String = cases
            .iter()
            .map(|(options, function)| {
                format!("#[task({options})] {function}\n    {}\n", mistakes(options, function).join("\n    "))
            })
            .collect();
        insta::assert_snapshot!(told);
    }
}
