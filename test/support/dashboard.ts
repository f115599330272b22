import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "./pod.ts";

/** What of the dashboard in the examples is a question to Prometheus, and what it is called. */
export interface Dashboard {
	readonly panels: readonly {
		readonly id: number;
		readonly title: string;
		readonly targets: readonly { readonly expr: string; readonly legendFormat?: string }[];
	}[];
	readonly templating: { readonly list: readonly { readonly name: string; readonly query: string }[] };
}

export const dashboard = JSON.parse(
	readFileSync(join(projectRoot, "examples/monitoring/dashboard.json"), "utf8"),
) as Dashboard;
