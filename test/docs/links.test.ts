import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../support/pod.ts";

/** As GitHub makes an anchor of a heading. */
function anchorsOf(page: string): string[] {
	return [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
		heading
			.toLowerCase()
			.replaceAll(/[^\p{L}\p{N} _-]/gu, "")
			.replaceAll(" ", "-"),
	);
}

test("links between pages lead to files and headings that exist", () => {
	const pages = globSync(["*.md", "docs/**/*.md", "examples/**/*.md"], { cwd: projectRoot });
	expect(pages.length).toBeGreaterThan(15);
	const broken = pages.flatMap((page) => {
		const text = readFileSync(join(projectRoot, page), "utf8");
		return [...text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(([link, path = "", anchor]) => {
			const file = path === "" ? join(projectRoot, page) : join(projectRoot, dirname(page), path);
			if (!existsSync(file)) return [`${page}: ${link}`];
			if (anchor === undefined || !file.endsWith(".md")) return [];
			return anchorsOf(readFileSync(file, "utf8")).includes(anchor) ? [] : [`${page}: ${link}`];
		});
	});
	expect(broken).toEqual([]);
});
