-- What the migrations of Alliance Auth 5.5.0 make, as far as docs/alliance-auth.md reads it.
CREATE TABLE auth_user (
    id integer PRIMARY KEY AUTOINCREMENT,
    username varchar(150) NOT NULL UNIQUE,
    email varchar(254) NOT NULL,
    is_active bool NOT NULL,
    is_superuser bool NOT NULL
);
CREATE TABLE auth_group (
    id integer PRIMARY KEY AUTOINCREMENT,
    name varchar(150) NOT NULL UNIQUE
);
CREATE TABLE auth_user_groups (
    id integer PRIMARY KEY AUTOINCREMENT,
    user_id integer NOT NULL REFERENCES auth_user (id),
    group_id integer NOT NULL REFERENCES auth_group (id),
    UNIQUE (user_id, group_id)
);
CREATE TABLE authentication_state (
    id integer PRIMARY KEY AUTOINCREMENT,
    name varchar(32) NOT NULL UNIQUE,
    priority integer NOT NULL UNIQUE,
    public bool NOT NULL
);
CREATE TABLE eveonline_evecharacter (
    id integer PRIMARY KEY AUTOINCREMENT,
    character_id integer NOT NULL UNIQUE,
    character_name varchar(254) NOT NULL,
    corporation_id integer NOT NULL,
    corporation_name varchar(254) NOT NULL,
    corporation_ticker varchar(5) NOT NULL,
    alliance_id integer NULL,
    alliance_name varchar(254) NOT NULL,
    alliance_ticker varchar(5) NOT NULL,
    faction_id integer NULL,
    faction_name varchar(254) NOT NULL
);
CREATE TABLE authentication_userprofile (
    id integer PRIMARY KEY AUTOINCREMENT,
    user_id integer NOT NULL UNIQUE REFERENCES auth_user (id),
    main_character_id integer NULL UNIQUE REFERENCES eveonline_evecharacter (id),
    state_id integer NOT NULL REFERENCES authentication_state (id)
);

INSERT INTO authentication_state VALUES (1, 'Guest', 0, 1), (2, 'Blue', 50, 0), (3, 'Member', 100, 0);
INSERT INTO auth_group VALUES (1, 'Fleet Commanders'), (2, 'Pilots'), (3, 'Häuptlinge 😀');
INSERT INTO auth_user VALUES
    (1, 'Ada_Prime', 'ada@example.org', 1, 0),
    (2, 'Bob', '', 1, 0),
    (3, 'dan', '', 0, 0),
    (4, 'root_admin', 'root@example.org', 1, 1);
INSERT INTO auth_user_groups (user_id, group_id) VALUES (1, 1), (1, 2), (2, 3), (3, 2);
INSERT INTO eveonline_evecharacter VALUES
    (1, 1001, 'Ada Prime', 2001, 'Gear Works', 'GWRK', 3001, 'Gear Pact', 'GEAR', NULL, ''),
    (2, 1002, 'Bob O''Nine', 2002, 'Lone, "Wolf" ;Inc', 'LONE', NULL, '', '', 500001, 'Caldari State'),
    (3, 1004, 'Dan Gone', 2001, 'Gear Works', 'GWRK', 3001, 'Gear Pact', 'GEAR', NULL, '');
INSERT INTO authentication_userprofile (user_id, main_character_id, state_id) VALUES
    (1, 1, 3), (2, 2, 2), (3, 3, 3), (4, NULL, 1);
