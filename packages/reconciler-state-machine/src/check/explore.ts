import { applyAction, actionText, isExchange, isScheduled, listActions, type Action } from './actions.ts';
import { inSync } from './in-sync.ts';
import { createCodec, type Codec } from './codec.ts';
import { Violation } from './violation.ts';
import { tellAgent } from './carry-out.ts';
import { createWorldSet, type WorldSet } from './world-set.ts';
import { attemptKeys, budgetNames, newAgent, type Setting, type World } from './world.ts';

/** A run that ends in a broken invariant, as sentences. */
export interface Counterexample {
  readonly invariant: number;
  readonly message: string;
  readonly steps: readonly string[];
}

/** What an exploration found. */
export interface Exploration {
  /** Different worlds, budgets aside. */
  readonly states: number;
  /** Worlds with the budgets that are left, less those that a richer one covers. */
  readonly nodes: number;
  readonly transitions: number;
  /** Steps of the longest of the shortest runs. */
  readonly depth: number;
  /** The most deliveries of copies of the agent that the fault-free scheduler needs from any state. */
  readonly exchangesMax: number;
  readonly violation: Counterexample | undefined;
  /** False if the limit on nodes ended the exploration early. */
  readonly complete: boolean;
}

/** Bounds of the exploration itself. */
export interface ExploreOptions {
  /** Stop after so many nodes. Default: no limit. */
  readonly nodesMax?: number;
  /** Invariant 8: from every state, both ends are in sync after at most so many exchanges without faults. */
  readonly exchangesMax: number;
}

/** The bound of invariant 8. */
export const exchangesMax = 3;

const bitsPerBudget = 3;
/** Actions that cost nothing, and those that spend one of the budgets. */
const kinds = budgetNames.length + 1;
/** The top bit of each budget's field, borrowed when a comparison fails. */
const borrowBits = budgetNames.reduce((bits, _, index) => bits | (4 << (index * bitsPerBudget)), 0);

const covers = (more: number, less: number): boolean => (((more | borrowBits) - less) & borrowBits) === borrowBits;

/** Numbers that grow with the exploration. */
class Column {
  values = new Int32Array(4096);

  set(index: number, value: number): void {
    if (index >= this.values.length) {
      const larger = new Int32Array(Math.max(this.values.length * 2, index + 1));
      larger.set(this.values);
      this.values = larger;
    }
    this.values[index] = value;
  }
}

/** Visits every world that can come about within the bounds, fewest disturbances first, and judges each. */
export function explore(setting: Setting, options: ExploreOptions): Exploration {
  const codec = createCodec(setting);
  const worlds = createWorldSet(codec.size);
  const run = new Run(setting, options, codec, worlds);
  return run.explore();
}

class Run {
  readonly #setting: Setting;
  readonly #options: ExploreOptions;
  readonly #codec: Codec;
  readonly #worlds: WorldSet;
  // Of a node: its world, what is left of the budgets, how it came about, its depth, the next node of the same world.
  readonly #world = new Column();
  readonly #budget = new Column();
  readonly #parent = new Column();
  readonly #action = new Column();
  readonly #depth = new Column();
  readonly #next = new Column();
  // Of a world: its newest node, plus one; what the scheduler makes of it, plus one; −1 when that is itself in sync.
  readonly #head = new Column();
  readonly #successor = new Column();
  readonly #exchange = new Column();
  // Of a world and a kind of action: where the pool holds how many outcomes there are and which, plus one.
  readonly #outcomes = new Column();
  readonly #pool = new Column();
  #poolSize = 0;
  #nodes = 0;
  #transitions = 0;
  #violation: Counterexample | undefined;
  /** Nodes to expand, by how many disturbances they have used. */
  readonly #waiting: number[][] = [];

  constructor(setting: Setting, options: ExploreOptions, codec: Codec, worlds: WorldSet) {
    this.#setting = setting;
    this.#options = options;
    this.#codec = codec;
    this.#worlds = worlds;
  }

  explore(): Exploration {
    const nodesMax = this.#options.nodesMax ?? Infinity;
    const first = firstWorld(this.#setting);
    const all = budgetNames.reduce(
      (packed, name, index) => packed | (this.#setting.bounds[name] << (index * bitsPerBudget)),
      0,
    );
    this.#visit(this.#worlds.add(this.#codec.encode(first)), all, -1, 0, 0, 0);
    for (let used = 0; used < this.#waiting.length; used += 1) {
      const queue = this.#waiting[used]!;
      for (let head = 0; head < queue.length && this.#violation === undefined && this.#nodes < nodesMax; head += 1) {
        this.#expand(queue[head]!, used);
      }
      this.#waiting[used] = [];
    }
    const complete = this.#nodes < nodesMax && this.#violation === undefined;
    const exchangesMax = complete ? this.#judgeCompletion() : 0;
    let depth = 0;
    for (let node = 0; node < this.#nodes; node += 1) depth = Math.max(depth, this.#depth.values[node]!);
    return {
      states: this.#worlds.count(),
      nodes: this.#nodes,
      transitions: this.#transitions,
      depth,
      exchangesMax,
      violation: this.#violation,
      complete,
    };
  }

  #visit(world: number, budget: number, parent: number, action: Action, depth: number, used: number): void {
    const head = this.#head.values[world] ?? 0;
    for (let node = head - 1; node >= 0; node = this.#next.values[node]! - 1) {
      if (covers(this.#budget.values[node]!, budget)) return;
    }
    const node = this.#nodes++;
    this.#world.set(node, world);
    this.#budget.set(node, budget);
    this.#parent.set(node, parent);
    this.#action.set(node, action);
    this.#depth.set(node, depth);
    this.#next.set(node, head);
    this.#head.set(world, node + 1);
    while (this.#waiting.length <= used) this.#waiting.push([]);
    this.#waiting[used]!.push(node);
  }

  #decode(world: number): World {
    return this.#codec.decode(this.#worlds.bytes(), world * this.#codec.size);
  }

  #expand(node: number, used: number): void {
    const budget = this.#budget.values[node]!;
    for (let kind = 0; kind <= budgetNames.length && this.#violation === undefined; kind += 1) {
      if (kind === 0) {
        this.#follow(node, kind, budget, used);
        continue;
      }
      const unit = 1 << ((kind - 1) * bitsPerBudget);
      if (covers(budget, unit)) this.#follow(node, kind, budget - unit, used + 1);
    }
  }

  /** Visits what the actions that spend one kind of budget (0: none) make of a node. */
  #follow(node: number, kind: number, budget: number, used: number): void {
    const world = this.#world.values[node]!;
    const slot = world * kinds + kind;
    if ((this.#outcomes.values[slot] ?? 0) === 0) this.#work(node, kind, slot);
    const depth = this.#depth.values[node]! + 1;
    const start = this.#outcomes.values[slot]! - 1;
    const end = start + 1 + 2 * this.#pool.values[start]!;
    for (let at = start + 1; at < end; at += 2) {
      this.#visit(this.#pool.values[at + 1]!, budget, node, this.#pool.values[at]!, depth, used);
    }
  }

  /** Works out what one kind of actions makes of a world, once for all budgets, and notes it in the pool. */
  #work(node: number, kind: number, slot: number): void {
    const world = this.#world.values[node]!;
    const origin = this.#decode(world);
    const actions: Action[] = [];
    listActions(this.#setting, origin, kind === 0 ? undefined : budgetNames[kind - 1], actions);
    const start = this.#poolSize++;
    this.#outcomes.set(slot, start + 1);
    this.#pool.set(start, actions.length);
    if (kind === 0 && inSync(origin)) this.#successor.set(world, -1);
    for (const action of actions) {
      const next = this.#decode(world);
      try {
        applyAction(this.#setting, next, action);
        const exchange = isExchange(action, next) ? 1 : 0;
        const reached = this.#worlds.add(this.#codec.encode(next));
        this.#transitions += 1;
        this.#pool.set(this.#poolSize++, action);
        this.#pool.set(this.#poolSize++, reached);
        if ((this.#successor.values[world] ?? 0) !== 0 || !isScheduled(action)) continue;
        this.#successor.set(world, reached + 1);
        this.#exchange.set(world, exchange);
      } catch (error) {
        if (!(error instanceof Violation)) throw error;
        this.#violation ??= { invariant: error.invariant, message: error.message, steps: this.#trace(node, action) };
        this.#pool.set(start, 0);
        return;
      }
    }
  }

  /** Follows the scheduler from every world; each path is walked once, since paths that meet go on together. */
  #judgeCompletion(): number {
    const count = this.#worlds.count();
    const distance = new Int32Array(count).fill(-1);
    let worst = 0;
    for (let start = 0; start < count; start += 1) {
      const path: number[] = [];
      let world = start;
      while (distance[world] === -1 && this.#successor.values[world]! > 0) {
        distance[world] = -2;
        path.push(world);
        world = this.#successor.values[world]! - 1;
      }
      if (distance[world] === -2) {
        this.#complain(start, 'the fault-free run goes round in a circle and never comes into sync');
        return worst;
      }
      if (distance[world] === -1) {
        if (this.#successor.values[world] !== -1) {
          this.#complain(world, 'nothing more happens, and the ends are not in sync');
          return worst;
        }
        distance[world] = 0;
      }
      let exchanges = distance[world]!;
      for (const on of path.reverse()) {
        exchanges += this.#exchange.values[on]!;
        distance[on] = exchanges;
      }
      if (distance[start]! > this.#options.exchangesMax) {
        this.#complain(start, `${distance[start]} exchanges until both ends are in sync`);
        return distance[start]!;
      }
      worst = Math.max(worst, distance[start]!);
    }
    return worst;
  }

  #complain(world: number, message: string): void {
    const node = this.#head.values[world]! - 1;
    const steps = [...this.#trace(node, undefined), '— from here on no more faults —'];
    const seen = new Set<number>();
    for (let at = world; at >= 0 && !seen.has(at) && steps.length < 200; at = this.#successor.values[at]! - 1) {
      seen.add(at);
      const action = this.#scheduled(at);
      if (action === undefined) break;
      steps.push(actionText(this.#setting, this.#decode(at), action));
    }
    this.#violation = { invariant: 8, message, steps };
  }

  #scheduled(world: number): Action | undefined {
    if (this.#successor.values[world]! <= 0) return undefined;
    const actions: Action[] = [];
    listActions(this.#setting, this.#decode(world), undefined, actions);
    return actions.find(isScheduled);
  }

  #trace(node: number, last: Action | undefined): string[] {
    const path: { readonly world: number; readonly action: Action }[] = [];
    if (last !== undefined) path.push({ world: this.#world.values[node]!, action: last });
    for (let at = node; this.#parent.values[at]! >= 0; at = this.#parent.values[at]!) {
      path.push({ world: this.#world.values[this.#parent.values[at]!]!, action: this.#action.values[at]! });
    }
    return path.reverse().map(({ world, action }) => actionText(this.#setting, this.#decode(world), action));
  }
}

/** An agent that has just started, a server that holds nothing, and every lease's first attempt waiting. */
export function firstWorld(setting: Setting): World {
  const world: World = {
    attempts: attemptKeys(setting.bounds).map((key) => ({
      key,
      store: key.attempt === 1 ? 'waiting' : 'none',
      journal: 'none',
      started: false,
      goingDown: false,
      isBack: false,
    })),
    storeEpoch: 2,
    server: undefined,
    limbo: undefined,
    agent: newAgent(setting),
    toServer: undefined,
    toAgent: undefined,
    late: undefined,
  };
  tellAgent(setting, world, { type: 'restored', attempts: [], nowMs: 0 });
  return world;
}
