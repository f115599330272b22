import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { dashboard } from "../support/dashboard.ts";
import { cachedBinaries, projectRoot } from "../support/pod.ts";

const monitoring = join(projectRoot, "examples/monitoring");
const read = (path: string): string => readFileSync(join(projectRoot, path), "utf8");

interface AlertRules {
	readonly groups: readonly {
		readonly rules: readonly {
			readonly alert: string;
			readonly expr: string;
			readonly annotations: { readonly summary: string; readonly description: string };
		}[];
	}[];
}
const rules = (parse(read("examples/monitoring/alerts.yaml")) as AlertRules).groups.flatMap((group) => group.rules);

const panels = dashboard.panels.flatMap(({ targets }) => targets);

/** Name, type and labels of each metric in docs/metrics.md, which is itself compared with the code. */
const documented = new Map(
	[...read("docs/metrics.md").matchAll(/^\| `(fluid_fuse_\w+)`\s*\|\s*(\w+)\s*\|([^|]*)\|/gm)].map(
		([, name = "", type = "", labels = ""]) => [
			name,
			{ type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = ""]) => label) },
		],
	),
);

/** What Prometheus adds to every series. */
const added = ["instance", "le"];

/** Metrics that do not exist, and labels that they do not have. */
function faultsOf(expression: string): string[] {
	return [...expression.matchAll(/(fluid_fuse_\w+)(?:\{([^}]*)\})?/g)].flatMap(([, name = "", matchers = ""]) => {
		const metric = documented.get(name) ?? documented.get(name.replace(/_(?:bucket|sum|count)$/, ""));
		if (metric === undefined) return [`${name} does not exist`];
		return [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].flatMap(([, label = ""]) =>
			[...metric.labels, ...added].includes(label) ? [] : [`${name} has no label ${label}`],
		);
	});
}

const expressions = [
	...rules.map(({ expr }) => expr),
	...panels.map(({ expr }) => expr),
	...dashboard.templating.list.map(({ query }) => query),
];

test("alerts and dashboard ask for metrics and labels that docs/metrics.md has", () => {
	expect(documented.size).toBeGreaterThan(10);
	expect(expressions.filter((expression) => expression.includes("fluid_fuse_")).length).toBeGreaterThan(15);
	expect(expressions.flatMap(faultsOf)).toEqual([]);
	expect(faultsOf('fluid_fuse_redy{mount="a"} + fluid_fuse_ready{mount="a"}')).toEqual([
		"fluid_fuse_redy does not exist",
		"fluid_fuse_ready has no label mount",
	]);
});

test("the dashboard groups and names its series by labels that they have", () => {
	for (const { expr, legendFormat = "" } of panels) {
		const [, metric = ""] = /(fluid_fuse_\w+)/.exec(expr) ?? [];
		const series = documented.get(metric) ?? documented.get(metric.replace(/_bucket$/, ""));
		const grouped = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(/,\s*/);
		const named = [...legendFormat.matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map(([, label]) => label);
		const present = [...(series?.labels ?? []), ...added];
		expect(present, expr).toEqual(expect.arrayContaining([...(grouped ?? []), ...named]));
		// What is summed over is gone.
		expect(grouped ?? present, expr).toEqual(expect.arrayContaining(named));
	}
});

test("the dashboard's panels have ids of their own", () => {
	expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
});

test("docs/troubleshooting.md says for each alert what to do", () => {
	const shown = [...read("docs/troubleshooting.md").matchAll(/^\| `(FluidFuse\w+)` \|/gm)].map(([, alert]) => alert);
	expect(shown).toEqual(rules.map(({ alert }) => alert));
});

interface RuleTests {
	readonly tests: readonly {
		readonly name?: string;
		readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[];
	}[];
}

test("each alert is tested with samples that make it fire, and with those of a healthy pod", () => {
	const { tests } = parse(read("test/fixtures/monitoring/alerts.test.yaml")) as RuleTests;
	const alerts = new Set(rules.map(({ alert }) => alert));
	const firing = tests.flatMap((each) => each.alert_rule_test.filter((expected) => expected.exp_alerts !== undefined));
	expect(new Set(firing.map(({ alertname }) => alertname))).toEqual(alerts);
	const healthy = tests.find(({ name }) => name === "healthy")?.alert_rule_test ?? [];
	expect(new Set(healthy.map(({ alertname }) => alertname))).toEqual(alerts);
	expect(healthy.filter(({ exp_alerts: expected }) => expected !== undefined)).toEqual([]);
});

test("promtool takes the alerts, and they fire when they should and only then", () => {
	withFolder((folder) => {
		copyFileSync(join(monitoring, "alerts.yaml"), join(folder, "alerts.yaml"));
		copyFileSync(join(projectRoot, "test/fixtures/monitoring/alerts.test.yaml"), join(folder, "alerts.test.yaml"));
		expect(promtool(folder, "check", "rules", "alerts.yaml")).toMatchObject({ status: 0 });
		expect(promtool(folder, "test", "rules", "alerts.test.yaml")).toMatchObject({ status: 0 });
	});
});

test("promtool takes every expression of the dashboard", () => {
	withFolder((folder) => {
		const recorded = panels.map(({ expr }, index) => ({ record: `panel:${index}`, expr }));
		writeFileSync(join(folder, "panels.yaml"), JSON.stringify({ groups: [{ name: "panels", rules: recorded }] }));
		expect(promtool(folder, "check", "rules", "panels.yaml")).toMatchObject({ status: 0 });
	});
});

function withFolder(use: (folder: string) => void): void {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-monitoring-"));
	try {
		use(folder);
	} finally {
		rmSync(folder, { recursive: true });
	}
}

/** What Prometheus' own checker says. */
function promtool(folder: string, ...words: string[]) {
	const options = { cwd: folder, encoding: "utf8", timeout: 30_000 } as const;
	const { status, stdout, stderr, error } = spawnSync(join(cachedBinaries, "promtool"), words, options);
	return { status, said: error?.message ?? stdout + stderr };
}
