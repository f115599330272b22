import { bucketAddress, type BucketAddress } from "./bucket-address.ts";
import type { Carried } from "./http/connection.ts";
import { Dialer, proxyAuthorization } from "./http/dialer.ts";
import { Pool } from "./http/pool.ts";
import { proxyFor } from "./http/proxy.ts";
import type { ObjectStoreOptions } from "./object-store.ts";

/** Where the bucket is, and the connections that lead there. */
export interface Site {
	readonly address: BucketAddress;
	/** For an exchange with these. */
	poolFor(carried: Carried): Pool;
	/** Nothing more is asked for there. */
	closeIdle(): void;
	/** Requests under way fail. */
	close(): void;
	/** Before the path in the request line: what an HTTP proxy needs. */
	readonly absolute: string;
	/** Headers for that proxy. */
	readonly proxyLines: string;
}

/** Throws a LauncherError if there is no URL for that bucket. */
export function createSite(options: ObjectStoreOptions, region: string): Site {
	const {
		endpoint,
		bucket,
		pathStyle,
		ca,
		insecureSkipVerify = false,
		proxyEnv = {},
		timeouts,
		farConnections,
	} = options;
	const address = bucketAddress({ endpoint, region, bucket, pathStyle });
	const { origin } = address;
	const proxy = proxyFor(origin, proxyEnv);
	const connectMs = timeouts?.connectMs ?? 5000;
	const destination = { url: origin, proxy, ca, verifies: !insecureSkipVerify, connectMs };
	const pool = new Pool(new Dialer(destination));
	const farPool = farConnections && new Pool(farConnections.dialer(destination));
	const pools = {
		poolFor: (carried: Carried) => (farConnections?.takes(carried) === true ? (farPool ?? pool) : pool),
		closeIdle() {
			pool.closeIdle();
			farPool?.closeIdle();
		},
		close() {
			pool.close();
			farPool?.close();
		},
	};
	// A tunnel needs neither.
	if (proxy === undefined || origin.protocol === "https:") return { address, ...pools, absolute: "", proxyLines: "" };
	const authorization = proxyAuthorization(proxy);
	const proxyLines = authorization === undefined ? "" : `proxy-authorization: ${authorization}\r\n`;
	return { address, ...pools, absolute: origin.origin, proxyLines };
}
