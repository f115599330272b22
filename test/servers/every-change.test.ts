import { expect, test } from "vitest";
import { missingFor, serverKinds } from "./kinds.ts";
import { runSteps } from "./run.ts";
import { startServer } from "./server.ts";
import { steps } from "./steps.ts";

/** The rest of the steps and of the servers: `npm run test:servers`. */
test.each(serverKinds.filter(({ everyChange }) => everyChange === true))(
	"does ordinary work on $title, and each byte of it is right",
	async (kind) => {
		expect(missingFor(kind)).toBeUndefined();
		const server = await startServer(kind);
		try {
			const failures: string[] = [];
			const results = await runSteps({
				server,
				driver: "native",
				steps: steps.filter(({ tells }) => tells === true),
				starts: true,
				onResult({ step, outcome, said }, log) {
					if (outcome !== "works") failures.push(`${step}: ${said}\n${log.slice(-3000)}`);
				},
			});
			expect(failures).toEqual([]);
			expect(results.length).toBeGreaterThan(15);
		} finally {
			await server.stop();
		}
	},
	200_000,
);
