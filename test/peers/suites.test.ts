import { expect, test } from "vitest";
import { parseProve } from "./pjdfstest.ts";
import { parseSummary } from "./s3fs.ts";
import { parseCheck } from "./xfstests.ts";

test("reads each assert of pjdfstest, also those that a script never came to", () => {
	const output = `/x/tests/chmod/00.t ......
1..4
ok 1
not ok 2 - tried 'stat', expected 0, got ENOENT
not ok 3 # TODO Linux differs
Failed 3/4 subtests
/x/tests/chmod/01.t ......
1..1
ok 1
ok
`;
	expect([...parseProve(output, "/x/tests/")]).toEqual([
		["chmod/00.t 1", { kind: "passed", said: "" }],
		["chmod/00.t 2", { kind: "failed", said: "tried 'stat', expected 0, got ENOENT" }],
		["chmod/00.t 3", { kind: "skipped", said: "# TODO Linux differs" }],
		["chmod/00.t 4", { kind: "failed", said: "it did not come so far" }],
		["chmod/01.t 1", { kind: "passed", said: "" }],
	]);
});

test("reads what the tests of s3fs say at their end", () => {
	const output = `test_one: "One ..."
could not
test_one failed
test_two passed
PASS: test_two
FAIL: test_one
`;
	expect([...parseSummary(output)]).toEqual([
		["test_two", { kind: "passed" }],
		["test_one", { kind: "failed", said: "could not" }],
	]);
});

test("reads what xfstests says at its end", () => {
	const output = `generic/001        4s
generic/002       [not run] no links
generic/003       - output mismatch (see /results/generic/003.out.bad)
    --- tests/generic/003.out
    +++ /results/generic/003.out.bad
generic/004       1s
Ran: generic/001 generic/003 generic/004
Not run: generic/002
Failures: generic/003
Failed 1 of 3 tests
`;
	expect([...parseCheck(output)]).toEqual([
		["generic/001", { kind: "passed" }],
		["generic/003", { kind: "failed", said: expect.stringMatching(/^- output mismatch.*\n.*\n.*bad$/) }],
		["generic/004", { kind: "passed" }],
		["generic/002", { kind: "skipped", said: "no links" }],
	]);
});
