//! Walks through a file and notes what can be inverted. Left alone are tests, constants, patterns, attributes, types and what
//! macros are given.

use proc_macro2::Span;
use quote::{ToTokens, quote};
use syn::visit::{self, Visit};
use syn::{
    Arm, Attribute, BinOp, Block, Expr, ExprBinary, ExprCall, ExprIf, ExprLit, ExprMethodCall, ExprReference,
    ExprRepeat, ExprUnary, ExprWhile, File, ImplItemFn, ItemConst, ItemFn, ItemImpl, ItemMod, ItemStatic, Lit, Pat,
    ReturnType, Signature, Stmt, Type, UnOp,
};

use crate::sites::{Change, Mutant};

/// Methods that are as good as their opposites to the compiler.
const METHODS: &[(&str, &str)] = &[
    ("min", "max"),
    ("max", "min"),
    ("any", "all"),
    ("all", "any"),
    ("is_some", "is_none"),
    ("is_none", "is_some"),
    ("is_ok", "is_err"),
    ("is_err", "is_ok"),
    ("is_some_and", "is_none_or"),
    ("is_none_or", "is_some_and"),
    ("first", "last"),
    ("last", "first"),
    ("starts_with", "ends_with"),
    ("ends_with", "starts_with"),
];

/// The walk.
pub struct Finder<'a> {
    room: &'static str,
    file: &'a str,
    found: Vec<Mutant>,
}

impl<'a> Finder<'a> {
    /// All mutants of a file.
    pub fn find(room: &'static str, file: &'a str, parsed: &File) -> Vec<Mutant> {
        let mut finder = Self { room, file, found: Vec::new() };
        finder.visit_file(parsed);
        finder.found
    }

    fn becomes(&mut self, was: &impl ToTokens, now: impl ToTokens) {
        let text = now.to_token_stream().to_string();
        // Lines have to stay where they are.
        if !text.contains('\n') {
            self.found.push(Mutant::new(self.room, self.file, was, Change::Becomes(text), was));
        }
    }

    fn left_out(&mut self, stmt: &Stmt) {
        self.found.push(Mutant::new(self.room, self.file, stmt, Change::LeftOut, stmt));
    }

    /// What a function may return without having done anything.
    fn returns(&mut self, signature: &Signature, block: &Block) {
        if signature.constness.is_some() || block.stmts.is_empty() {
            return;
        }
        let values: &[&str] = match &signature.output {
            ReturnType::Default => &["()"],
            ReturnType::Type(_, of) => {
                let of: String = of.to_token_stream().to_string().split_whitespace().collect();
                let result = of.rsplit_once("Result<").map(|(_, of)| of);
                match (of.as_str(), result) {
                    ("bool", _) => &["true", "false"],
                    (_, Some(of)) if of.starts_with("()") => &["Ok(())"],
                    (_, Some(of)) if of.starts_with("bool") => &["Ok(true)", "Ok(false)"],
                    (_, Some(of)) if of.starts_with("Option<") => &["Ok(None)"],
                    (text, _) if text.starts_with("Option<") => &["None"],
                    _ => &[],
                }
            }
        };
        for value in values {
            let brace = Brace(block.brace_token.span.open());
            let change = Change::Returns((*value).to_owned());
            self.found.push(Mutant::new(self.room, self.file, &brace, change, &signature.ident));
        }
    }

    /// What decides on a branch is negated. Comparisons and `!` have mutants of their own.
    fn condition(&mut self, condition: &Expr) {
        match condition {
            Expr::Binary(ExprBinary { left, op: BinOp::And(_), right, .. }) if has_let(condition) => {
                self.condition(left);
                self.condition(right);
            }
            Expr::Binary(_) | Expr::Unary(_) | Expr::Let(_) => {}
            Expr::MethodCall(call) if opposite(call).is_some() => {}
            _ => self.becomes(condition, quote!(!(#condition))),
        }
    }
}

/// The place of an opening brace.
struct Brace(Span);

impl ToTokens for Brace {
    fn to_tokens(&self, tokens: &mut proc_macro2::TokenStream) {
        let mut place = proc_macro2::Punct::new('!', proc_macro2::Spacing::Alone);
        place.set_span(self.0);
        place.to_tokens(tokens);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let mut code = attributes.iter().filter(|attribute| !attribute.path().is_ident("doc"));
    code.any(|attribute| attribute.to_token_stream().to_string().contains("test"))
}

fn opposite(call: &ExprMethodCall) -> Option<&'static str> {
    METHODS.iter().find(|(name, _)| call.method == name).map(|(_, opposite)| *opposite)
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(ExprBinary { left, op: BinOp::And(_), right, .. }) => has_let(left) || has_let(right),
        Expr::Paren(paren) => has_let(&paren.expr),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) && item.sig.constness.is_none() {
            self.returns(&item.sig, &item.block);
            visit::visit_block(self, &item.block);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        // How something is shown is no rule.
        let is_shown = item.trait_.as_ref().is_some_and(|(_, path, _)| {
            path.segments.last().is_some_and(|last| last.ident == "Debug" || last.ident == "Display")
        });
        if !is_test(&item.attrs) && !is_shown {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_test(&item.attrs) && item.sig.constness.is_none() {
            self.returns(&item.sig, &item.block);
            visit::visit_block(self, &item.block);
        }
    }

    fn visit_item_const(&mut self, _: &'ast ItemConst) {}

    fn visit_item_static(&mut self, _: &'ast ItemStatic) {}

    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_pat(&mut self, _: &'ast Pat) {}

    fn visit_type(&mut self, _: &'ast Type) {}

    fn visit_path(&mut self, _: &'ast syn::Path) {}

    fn visit_angle_bracketed_generic_arguments(&mut self, _: &'ast syn::AngleBracketedGenericArguments) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}

    fn visit_expr_repeat(&mut self, repeat: &'ast ExprRepeat) {
        // Its length is a constant.
        visit::visit_expr(self, &repeat.expr);
    }

    fn visit_expr_reference(&mut self, reference: &'ast ExprReference) {
        // What is borrowed for good would have to be a constant.
        if !matches!(&*reference.expr, Expr::Lit(_) | Expr::Array(_)) {
            visit::visit_expr_reference(self, reference);
        }
    }

    fn visit_stmt(&mut self, stmt: &'ast Stmt) {
        let can_go = match stmt {
            Stmt::Expr(expr, Some(_)) => matches!(
                expr,
                Expr::Assign(_) | Expr::Binary(_) | Expr::MethodCall(_) | Expr::Call(_) | Expr::Try(_) | Expr::Await(_)
            ),
            Stmt::Local(local) => matches!(local.pat, Pat::Wild(_)),
            _ => false,
        };
        if can_go {
            self.left_out(stmt);
        }
        visit::visit_stmt(self, stmt);
    }

    fn visit_expr_if(&mut self, expr: &'ast ExprIf) {
        self.condition(&expr.cond);
        visit::visit_expr_if(self, expr);
    }

    fn visit_expr_while(&mut self, expr: &'ast ExprWhile) {
        self.condition(&expr.cond);
        visit::visit_expr_while(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.condition(guard);
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        // How much room is made at first is no rule.
        if !call.func.to_token_stream().to_string().ends_with("with_capacity") {
            visit::visit_expr_call(self, call);
        }
    }

    fn visit_expr_unary(&mut self, expr: &'ast ExprUnary) {
        if let UnOp::Not(_) = expr.op {
            self.becomes(expr, &expr.expr);
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_expr_binary(&mut self, expr: &'ast ExprBinary) {
        let ExprBinary { left, op, right, .. } = expr;
        let mut others = Vec::new();
        match op {
            BinOp::Lt(_) => others.extend([quote!(<=), quote!(>=)]),
            BinOp::Le(_) => others.extend([quote!(<), quote!(>)]),
            BinOp::Gt(_) => others.extend([quote!(>=), quote!(<=)]),
            BinOp::Ge(_) => others.extend([quote!(>), quote!(<)]),
            BinOp::Eq(_) => others.push(quote!(!=)),
            BinOp::Ne(_) => others.push(quote!(==)),
            BinOp::Add(_) => others.push(quote!(-)),
            BinOp::Sub(_) => others.push(quote!(+)),
            BinOp::Mul(_) => others.push(quote!(/)),
            BinOp::Div(_) => others.push(quote!(*)),
            BinOp::AddAssign(_) => others.push(quote!(-=)),
            BinOp::SubAssign(_) => others.push(quote!(+=)),
            BinOp::And(_) if !has_let(left) && !has_let(right) => others.push(quote!(||)),
            BinOp::Or(_) => others.push(quote!(&&)),
            _ => {}
        }
        for other in others {
            // As operands of `||` a chain of `&&` has to be bracketed, and the other way round.
            self.becomes(expr, quote!((#left) #other (#right)));
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_method_call(&mut self, expr: &'ast ExprMethodCall) {
        if let Some(opposite) = opposite(expr) {
            let mut other = expr.clone();
            other.method = syn::Ident::new(opposite, expr.method.span());
            self.becomes(expr, other);
        }
        visit::visit_expr_method_call(self, expr);
    }

    fn visit_expr_lit(&mut self, expr: &'ast ExprLit) {
        match &expr.lit {
            Lit::Int(int) => self.becomes(expr, quote!((#int + 1))),
            Lit::Bool(bool) => {
                let opposite = !bool.value;
                self.becomes(expr, quote!(#opposite));
            }
            _ => {}
        }
    }
}
