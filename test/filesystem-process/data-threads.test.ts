import { expect, test } from "vitest";
import { defaultThreads } from "../../src/filesystem-process/data-threads.ts";

test("threads are used where there are processors for them", () => {
	expect([1, 2, 3, 4, 8, 32].map(defaultThreads)).toEqual([0, 0, 0, 2, 6, 8]);
});
