import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readFrames, RecordFile } from "../../../src/s3-filesystem/records/record-file.ts";

let directory: string;
beforeEach(() => {
	directory = mkdtempSync(join(tmpdir(), "record-file-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const append = (file: RecordFile, text: string): void => file.append(Buffer.from(`....${text}`));
const read = (): string[] => Array.from(readFrames(directory), (frame) => frame.toString());

test("what a process wrote while it began another file is known until the next one has written all of it", () => {
	const first = new RecordFile(directory);
	first.begin("whole");
	append(first, "before");
	first.replacePresent();
	first.begin("next");
	append(first, "since");
	first.close();

	const second = new RecordFile(directory);
	second.begin("whole");
	append(second, "half");
	second.close();
	expect(read()).toEqual(["before", "since"]);

	const third = new RecordFile(directory);
	third.begin("whole");
	append(third, "all");
	third.replacePresent();
	append(third, "more");
	third.close();
	expect(read()).toEqual(["all", "more"]);
});

test("what was added to a file that another one has replaced says nothing", () => {
	const first = new RecordFile(directory);
	first.begin("whole");
	first.replacePresent();
	first.begin("next");
	append(first, "outdated");
	first.close();
	const [added, copy] = [join(directory, "records.new"), join(directory, "copy")];
	copyFileSync(added, copy);

	const second = new RecordFile(directory);
	second.begin("whole");
	append(second, "all");
	second.replacePresent();
	second.close();
	expect(existsSync(added)).toBe(false);
	// Who is killed between the two leaves both.
	copyFileSync(copy, added);
	expect(read()).toEqual(["all"]);
});
