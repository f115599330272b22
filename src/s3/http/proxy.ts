import type { ProxyEnv } from "node:http";
import { BlockList, isIP } from "node:net";

import { LauncherError } from "../../errors.ts";

/**
 * The proxy for a URL, by the rules that Go and curl read HTTP_PROXY, HTTPS_PROXY and NO_PROXY with, since the drivers
 * are built on those: Node would not know ranges such as `10.0.0.0/8`, nor that `cluster.local` covers its subdomains.
 */
export function proxyFor(url: URL, env: ProxyEnv): URL | undefined {
	const isTls = url.protocol === "https:";
	const value = isTls ? env.https_proxy || env.HTTPS_PROXY : env.http_proxy || env.HTTP_PROXY;
	if (!value || isLocal(url.hostname) || isExempt(url, env.no_proxy || env.NO_PROXY || "")) return undefined;
	const proxy = URL.parse(value.includes("://") ? value : `http://${value}`);
	if (proxy === null || !/^https?:$/.test(proxy.protocol)) {
		// Not the value: it may hold a password.
		throw new LauncherError("USAGE", `${isTls ? "HTTPS_PROXY" : "HTTP_PROXY"} is not the address of an HTTP proxy`, {
			hint: "Write it as http://host:port.",
		});
	}
	return proxy;
}

/** No proxy reaches this pod's own addresses. */
function isLocal(hostname: string): boolean {
	return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function isExempt({ hostname, port, protocol }: URL, noProxy: string): boolean {
	const host = hostname.replaceAll(/[[\]]/g, "");
	const effectivePort = port || (protocol === "https:" ? "443" : "80");
	return noProxy
		.toLowerCase()
		.split(/[\s,]+/)
		.filter((entry) => entry !== "")
		.some((entry) => {
			if (entry === "*") return true;
			if (entry.includes("/")) return isInRange(host, entry);
			if (isIP(entry)) return entry === host;
			const [, name = "", entryPort = effectivePort] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
			if (entryPort !== effectivePort) return false;
			const domain = name.replace(/^\*?\./, "").replaceAll(/[[\]]/g, "");
			// `.domain` does not cover the domain itself; `domain` covers both.
			return (host === domain && domain === name) || (!isIP(host) && host.endsWith(`.${domain}`));
		});
}

function isInRange(host: string, range: string): boolean {
	const [network = "", prefix = ""] = range.split("/");
	const family = isIP(network);
	const isRange = family !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 6 ? 128 : 32);
	if (!isRange || isIP(host) !== family) return false;
	const type = family === 6 ? "ipv6" : "ipv4";
	const list = new BlockList();
	list.addSubnet(network, Number(prefix), type);
	return list.check(host, type);
}
