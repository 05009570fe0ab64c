"""An explanation in words: a sentence for each step on the way to the answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from server.edge.codings import IDENTITY
from server.edge.decision import Decision, Failed, Lookup, Moved
from server.edge.explain import Explanation
from server.edge.paths import Found, Redirect
from server.edge.redirects import Outcome
from server.edge.response import Content
from server.edge.visitor import Inputs
from storage.models import Coding, File

_CONDITIONS = {
    206: "The request's Range makes it a part of that.",
    304: "The request's conditions say that the client has it already, so only what keeps that fresh is sent.",
    412: "The request's conditions do not hold, so it is refused.",
    416: "The request's Range lies outside of it.",
}


_ADMISSIONS = {
    303: "The preview is private, and the link opens it: the visitor gets a cookie, and is led to the same address.",
    403: "The preview is private, and neither a link nor a cookie opens it.",
}


def sentences(known: Explanation) -> Iterator[str]:
    """In the order in which it was decided."""
    if known.refused is not None:
        yield f"The request is refused: {known.refused}."
    elif known.status is None:
        yield f"{known.host} does not lead to this site."
    elif known.admission is not None:
        yield _ADMISSIONS[known.admission]
    elif known.decision is None:
        yield "The method is answered without looking for a file."
    else:
        yield from _decided(known, known.decision)
    if known.status is not None:
        yield f"The answer is {known.status} {HTTPStatus(known.status).phrase}."


def _decided(known: Explanation, decision: Decision) -> Iterator[str]:
    if known.answered_by is not None and known.answered_by.preview is not None:
        yield f"The host is of a preview: it shows {known.answered_by.preview.deployment_id}, whatever is live."
    yield _looked_up(decision.lookups[0])
    if decision.outcome is not None:
        yield f"Line {decision.outcome.rule.line} of _redirects applies: {why(decision.outcome, decision.lookups[0])}."
        if decision.outcome.target is not None:
            yield _looked_up(decision.lookups[-1])
    elif known.rules is not None and known.rules.redirects is not None:
        yield "No line of _redirects applies."
    if isinstance(decision.answer, Failed):
        yield _error_page(decision.answer.file)
    if known.is_tagged:
        yield "The tag of the site's widget is put into it."
    if known.content is not None and decision.answer.file is not None:
        yield _coding(known.content, decision.answer.file)
    yield from (f"Line {edit.line} of _headers takes {edit.name.decode()} away." for edit in known.removed)
    if known.status in _CONDITIONS:
        yield _CONDITIONS[known.status]
    if decision.inputs:
        yield f"The rules of _redirects read more of the request than its path: {_read(decision.inputs)}."
    yield _kept(known, decision)


def _looked_up(lookup: Lookup) -> str:
    tried = ", ".join(lookup.wanted.files)
    if not tried:
        return f"{lookup.path} is a name that is never served."
    if lookup.error_page is not None:
        return f"{lookup.path} is the site's error page, which is an error by its own address, too."
    match lookup.found:
        case Found(file) if lookup.lost:
            return (
                f"{lookup.path} is answered by {file.path} from the previous tree: the last deployment has removed it,"
                " and skew protection serves it a while longer to pages that are still open."
            )
        case Found(file):
            return f"{lookup.path} is answered by {file.path}, the first that exists of: {tried}."
        case Redirect():
            return (
                f"{lookup.path} is a folder without its slash: of {tried} there is none, but {_index(lookup)} is there."
            )
    return f"{lookup.path} is answered by no file: there is none of {tried}."


def _index(lookup: Lookup) -> str:
    assert lookup.wanted.folder_index is not None
    return lookup.wanted.folder_index


def why(outcome: Outcome, lookup: Lookup) -> str:
    """Why the rule of `outcome` applies to the path of `lookup`."""
    rule = outcome.rule
    reasons = [f"{rule.pattern.text} matches {lookup.path}"]
    reasons += [f"the query has {name}={value}" for name, value in rule.literals]
    reasons += [f"the query has {name}" for name, _ in rule.captures]
    if rule.cookies:
        reasons.append(f"the visitor has a cookie that it names ({', '.join(sorted(rule.cookies))})")
    if rule.languages:
        reasons.append(f"the visitor accepts a language that it names ({', '.join(sorted(rule.languages))})")
    if rule.navigations_only:
        reasons.append("the request is for a page to show")
    reasons.append("it is forced, so that it counts although a file answers" if lookup.exists else "no file answers")
    return ", ".join(reasons)


def _error_page(file: File | None) -> str:
    return (
        "The site has no error page for it, so Spacelane's own is shown." if file is None else f"{file.path} is shown."
    )


def _coding(content: Content, file: File) -> str:
    if content.coding != IDENTITY:
        return (
            f"It is sent in {content.coding}, the smallest coding that the request allows: {content.blob.size} bytes"
            f" instead of {file.size}."
        )
    if not content.codings:
        return "It is sent as it is: it has no other coding."
    return f"It is sent as it is: of {_names(content.codings)} the request allows none that is smaller."


def _names(codings: tuple[Coding | str, ...]) -> str:
    return ", ".join(coding for coding in codings if coding != IDENTITY)


def _read(inputs: Inputs) -> str:
    parts = [f"the query's {name}" for name in sorted(inputs.query)]
    parts += [f"the cookie {name}" for name in sorted(inputs.cookies)]
    parts += [f"whether {language} is accepted" for language in sorted(inputs.languages)]
    parts += ["whether it is for a page to show"] if inputs.navigation else []
    return ", ".join(parts)


def _kept(known: Explanation, decision: Decision) -> str:
    if known.kept:
        return "It is kept in memory for the next who asks the same."
    if decision.keep:
        return "It is not kept in memory yet: it changed within this second."
    if isinstance(decision.answer, Failed):
        return "It is not kept in memory by its path: there is no end of paths that lack something."
    return "It is not kept in memory by its path: " + (
        "the rule's answer depends on the whole query."
        if isinstance(decision.answer, Moved) and decision.outcome and decision.outcome.rule.pattern.path is not None
        else "the rule is for any number of them."
    )
