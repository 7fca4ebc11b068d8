// Package doctor looks for what keeps an installation from working, or soon will: one [Check] after the other, each with
// findings that say what was found and what to do about it.
//
// [Run] runs a list of checks. [Installation] is the list for a key server and its collateral service, [Local] that for
// the machine that Terraform runs on, [Cloud] that for an account of Alibaba Cloud, and [Host] that for a machine that is
// reached by SSH; a check of something else is another element, and needs nothing of this package but the type. A check whose ground is missing,
// because an earlier one failed, says so with [Skip] instead of failing for the same reason again.
//
// Nothing here changes anything, and nothing that is not public leaves the machine.
package doctor
