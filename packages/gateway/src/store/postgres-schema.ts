import { sql } from 'kysely'
import type { Migration } from './migrations.js'

/**
 * What was done to the schema of PostgreSQL, in order. Released ones never change. Texts are ordered by their bytes, as SQLite
 * and JavaScript do, whatever the locale of the database.
 */
export const POSTGRES_MIGRATIONS: readonly Migration[] = [
  async (db) => {
    for (const part of [TABLES, AUDIT, CHANGES, LIMITER]) await sql.raw(part).execute(db)
  },
]

const TABLES = `
create table agents (
  id text collate "C" primary key,
  name text not null,
  trust_tier text not null,
  tags text not null,
  metadata text not null,
  status text not null,
  generation bigint not null,
  created_at bigint not null,
  updated_at bigint not null,
  revoked_at bigint,
  last_seen_at bigint
);
create index agents_oldest on agents (created_at, id);
create index agents_changed on agents (updated_at, id);
create table agent_tags (
  agent_id text collate "C" not null references agents,
  tag text collate "C" not null,
  primary key (agent_id, tag)
);
create index agent_tags_tag on agent_tags (tag);
create table policies (
  name text collate "C" primary key,
  document text,
  revision bigint not null,
  updated_at bigint not null
);
create table tokens (
  id text collate "C" primary key,
  name text not null,
  scopes text not null,
  hash text collate "C" not null unique,
  created_at bigint not null,
  expires_at bigint
);
create table delegations (
  id text collate "C" primary key,
  from_agent text collate "C" not null references agents,
  to_agent text collate "C" not null references agents,
  actions text not null,
  parent text collate "C" references delegations,
  depth integer not null,
  reason text,
  created_at bigint not null,
  expires_at bigint not null,
  revoked_at bigint
);
create table settings (key text collate "C" primary key, value text not null);
`

/**
 * The audit log: a table a month, by when a row was stored. No ID and no place of a chain occurs twice in a month; over months
 * the statement that appends sees to it. \`audit_clock\` gives positions in the order of commits: whoever took some keeps the
 * others waiting until they are committed.
 */
const AUDIT = `
create table audit (
  "position" bigint not null,
  stored timestamptz not null,
  writer text collate "C" not null,
  sequence bigint not null,
  id text collate "C" not null,
  "timestamp" bigint not null,
  trace_id text collate "C" not null,
  agent_id text collate "C",
  action text collate "C" not null,
  decision text not null,
  code text not null,
  policy text collate "C",
  entry text not null,
  hash text not null
) partition by range (stored);
create index audit_position on audit ("position");
create index audit_search on audit ("timestamp", sequence, writer);
create table audit_clock ("position" bigint not null);
insert into audit_clock values (0);
create table checkpoints (
  writer text collate "C" primary key,
  sequence bigint not null,
  hash text not null,
  "timestamp" bigint not null,
  signature text not null
);
create table cuts (like checkpoints including all);
create function meshguard_add_audit_month(at timestamptz) returns void language plpgsql as $$
declare
  first timestamptz := date_trunc('month', at, 'UTC');
  next timestamptz := date_trunc('month', first + interval '32 days', 'UTC');
  part text := to_char(first at time zone 'UTC', '"audit_"YYYY_MM');
begin
  if exists (select from pg_tables where schemaname = current_schema() and tablename = part) then return; end if;
  perform pg_advisory_xact_lock(hashtextextended('meshguard audit months', 0));
  if exists (select from pg_tables where schemaname = current_schema() and tablename = part) then return; end if;
  execute format('create table %I (like audit including defaults, unique (id), unique (writer, sequence))', part);
  execute format('alter table audit attach partition %I for values from (%L) to (%L)', part, first, next);
end $$;
`

/**
 * Notes every change of what gateways remember, in the transaction that makes it: its version, which grows by one in the order of
 * commits, what and which. That an agent was seen is no change.
 */
const CHANGES = `
create table change_clock (version bigint not null);
insert into change_clock values (0);
create table changes (
  version bigint primary key,
  kind text not null,
  key text not null,
  at timestamptz not null default now()
);
create function meshguard_note_change() returns trigger language plpgsql as $$
declare
  noted bigint;
  changed jsonb := case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
begin
  if tg_op = 'UPDATE' and to_jsonb(old) - 'last_seen_at' = changed - 'last_seen_at' then return null; end if;
  update change_clock set version = version + 1 returning version into noted;
  insert into changes (version, kind, key) values (noted, tg_table_name, changed ->> tg_argv[0]);
  perform pg_notify('meshguard_changes', '');
  return null;
end $$;
create trigger note_change after insert or update or delete on agents for each row execute function meshguard_note_change('id');
create trigger note_change after insert or update or delete on policies for each row execute function meshguard_note_change('name');
create trigger note_change after insert or update or delete on tokens for each row execute function meshguard_note_change('id');
create trigger note_change after insert or update or delete on delegations for each row execute function meshguard_note_change('id');
create trigger note_change after insert or update or delete on settings for each row execute function meshguard_note_change('key');
`

/**
 * Core's GCRA (policy/gcra.ts of @meshguard/core), step by step the same, over several requests in order, each taking from all of
 * its buckets or from none. Buckets are locked in one order, so that two statements never wait for each other.
 */
const LIMITER = `
create table rate_limits (
  key text collate "C" primary key,
  used double precision not null,
  at double precision not null,
  requests double precision not null,
  window_ms double precision not null,
  empty_at double precision not null
);
create index rate_limits_empty on rate_limits (empty_at);
create function meshguard_used(level rate_limits, requests float8, window_ms float8, now float8) returns float8
language plpgsql immutable as $$
declare
  back float8;
  used float8;
begin
  if level.key is null then return 0; end if;
  back := greatest(0, now - level.at) * level.requests;
  used := case when back >= level.used then 0 else level.used - back end;
  if level.requests = requests and level.window_ms = window_ms then return used; end if;
  if requests is null or window_ms is null then return null; end if;
  return least(requests * window_ms, ceil(used / level.window_ms * window_ms));
end $$;
create function meshguard_start(level rate_limits, window_ms float8, now float8) returns float8
language sql immutable as $$
  select case when level.key is null or level.at - now > greatest(window_ms, 60000) then now else greatest(level.at, now) end
$$;
create function meshguard_take(takes json) returns json language plpgsql as $$
declare
  answers json[] := '{}';
  take json;
  bucket record;
  level rate_limits;
  now float8;
  left_over float8;
  wait float8;
  longest float8;
  exhausted integer;
begin
  perform set_config('synchronous_commit', 'off', true);
  perform pg_advisory_xact_lock(1296253778, slot) from (
    select distinct hashtext(b ->> 'key') & 1023 as slot
    from json_array_elements(takes) t, json_array_elements(t -> 'buckets') b order by slot
  ) slots;
  for take in select value from json_array_elements(takes) loop
    now := (take ->> 'now')::float8;
    longest := 0;
    exhausted := null;
    for bucket in select * from rows from (
      json_to_recordset(take -> 'buckets') as (key text, requests float8, "windowMs" float8)
    ) with ordinality as b (key, requests, window_ms, place) loop
      select * into level from rate_limits where rate_limits.key = bucket.key;
      left_over := meshguard_used(level, bucket.requests, bucket.window_ms, now) + bucket.window_ms
        - bucket.requests * bucket.window_ms;
      if left_over <= 0 then continue; end if;
      wait := left_over / nullif(bucket.requests, 0) + greatest(0, meshguard_start(level, bucket.window_ms, now) - now);
      wait := coalesce(wait, 1000);
      if wait <= longest then continue; end if;
      longest := wait;
      exhausted := bucket.place - 1;
    end loop;
    if exhausted is not null then
      answers := answers || json_build_object('bucket', exhausted, 'ms', longest);
      continue;
    end if;
    answers := answers || 'null'::json;
    for bucket in select * from json_to_recordset(take -> 'buckets') as b (key text, requests float8, "windowMs" float8) loop
      select * into level from rate_limits where rate_limits.key = bucket.key;
      insert into rate_limits as there (key, used, at, requests, window_ms, empty_at)
      select bucket.key, spent.used, spent.at, bucket.requests, bucket."windowMs", spent.at + spent.used / bucket.requests
      from (select
        meshguard_used(level, bucket.requests, bucket."windowMs", now) + bucket."windowMs" as used,
        meshguard_start(level, bucket."windowMs", now) as at
      ) spent
      on conflict (key) do update set used = excluded.used, at = excluded.at, requests = excluded.requests,
        window_ms = excluded.window_ms, empty_at = excluded.empty_at;
    end loop;
  end loop;
  return array_to_json(answers);
end $$;
`
