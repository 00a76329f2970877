"Settings: which place wins, what is refused and with which words, and that secrets are never shown."

import os
import pickle
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

import rrr
from rrr.core.errors import ConfigError
from rrr.core.settings import Settings, get_settings, load_settings, project_root, settings_table
from rrr.core.sources import is_secret

KEYS = [field.upper() for field in Settings.model_fields]
SECRETS = [key for key in KEYS if is_secret(Settings, key.lower())]
CANARY = "cAnArY-7d1f"
SECRET_VALUES = {
    key: {
        "DATABASE_URL": f"postgresql://quant:{CANARY}@127.0.0.1:5432/trading",
        "REDIS_URL": f"redis://:{CANARY}@127.0.0.1:6379/0",
    }.get(key, CANARY)
    for key in SECRETS
}
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA+b/cd==\noUQDQgAE\n-----END EC PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch):
    for key in list(os.environ):
        if key in KEYS or key.startswith("RRR_"):
            monkeypatch.delenv(key)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def place(tmp_path, monkeypatch):
    "Put one text into one place: place('.env', 'KEY', 'value')"

    def put(where, key, value):
        if where == "environment":
            monkeypatch.setenv(key, value)
        elif where == ".env":
            (tmp_path / ".env").write_text(f"# mine\n{key}={value}\n")
        elif where == "settings.ini":
            (tmp_path / "settings.ini").write_text(f"[desk]\n{key} = {value}\n")
        return {key.lower(): value} if where == "command line" else {}

    return put


SPOTS = {
    "command line": "the command line",
    "environment": "the environment",
    ".env": ".env line 2",
    "settings.ini": "settings.ini [desk] line 2",
}
PLACES = list(SPOTS)


def refusal(root, **overrides) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load_settings(root, **overrides)
    assert refused.value.__context__ is None or CANARY not in str(refused.value.__context__)
    return str(refused.value).splitlines()


def row(s, key) -> dict:
    return next(r for r in settings_table(s) if r["key"] == key)


# --- which place wins


def test_defaults_hold_when_no_file_and_no_variable_is_there(tmp_path):
    s = load_settings(tmp_path)
    assert (s.database_type, s.database_path) == ("sqlite", Path("data/db/trading.db"))
    assert (s.database_pool_min, s.database_pool_max, s.database_pool_timeout) == (5, 20, 30)
    assert (s.redis_max_connections, s.model_cache_size, s.model_inference_batch_size) == (50, 10, 32)
    assert (s.paper_trading, s.live_trading, s.initial_capital) == (True, False, Decimal("100000.0"))
    assert (s.max_position_size_pct, s.max_daily_loss_pct) == (Decimal("0.20"), Decimal("0.05"))
    assert s.cuda_visible_devices is None and s.supabase_url is None
    assert all(getattr(s, key.lower()) is None for key in SECRETS)
    assert {r["source"] for r in settings_table(s)} == {"default"}


@pytest.mark.parametrize("highest", range(4))
def test_a_higher_place_wins_over_all_lower_ones(highest, tmp_path, place):
    overrides = {}
    for number in range(highest, 4):
        overrides |= place(PLACES[number], "MODEL_CACHE_SIZE", str(100 + number))
    s = load_settings(tmp_path, **overrides)
    assert s.model_cache_size == 100 + highest
    assert row(s, "MODEL_CACHE_SIZE") | {"help": ""} == {
        "key": "MODEL_CACHE_SIZE",
        "value": str(100 + highest),
        "source": PLACES[highest],
        "help": "",
    }


@pytest.mark.parametrize("where", PLACES)
def test_every_setting_that_is_no_secret_can_come_from_every_place(where, tmp_path, place):
    good = {
        "RRR_HOME": "/srv/rrr",
        "DATABASE_TYPE": "sqlite",
        "DATABASE_PATH": "other.db",
        "SUPABASE_URL": "https://abc.supabase.co",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "INITIAL_CAPITAL": "2500.5",
        "PAPER_TRADING": "true",
        "LIVE_TRADING": "false",
        "MAX_POSITION_SIZE_PCT": "1",
        "MAX_DAILY_LOSS_PCT": "0.5",
    }
    for key in set(KEYS) - set(SECRETS):
        value = good.get(key, "7")
        assert row(load_settings(tmp_path, **place(where, key, value)), key)["source"] == where
        if where == "environment":
            os.environ.pop(key)


def test_none_as_an_argument_counts_as_not_given(tmp_path, place):
    place(".env", "RRR_HOME", "/srv/rrr")
    s = load_settings(tmp_path, rrr_home=None)
    assert s.home == Path("/srv/rrr")
    assert row(s, "RRR_HOME")["source"] == ".env"


def test_keys_in_the_files_are_read_in_either_case(tmp_path):
    (tmp_path / "settings.ini").write_text("[a]\nmodel_cache_size = 3\n[b]\nModel_Inference_Batch_Size = 4 ; rows\n")
    (tmp_path / ".env").write_text("export redis_max_connections='5' # few\n")
    s = load_settings(tmp_path)
    assert (s.model_cache_size, s.model_inference_batch_size, s.redis_max_connections) == (3, 4, 5)


def test_arguments_keep_their_exact_value(tmp_path):
    s = load_settings(tmp_path, max_daily_loss_pct=0.1, initial_capital=Decimal("0.00000001"), paper_trading=True)
    assert (s.max_daily_loss_pct, s.initial_capital) == (Decimal("0.1"), Decimal("1e-8"))


@pytest.mark.parametrize("key", ["REDIS_URL", "POLYGON_API_KEY", "SUPABASE_URL"])
def test_an_empty_variable_means_not_set_and_hides_the_value_below(key, tmp_path, place):
    place(".env", key, {"SUPABASE_URL": "https://a.b", "REDIS_URL": "redis://h"}.get(key, "k"))
    assert getattr(load_settings(tmp_path), key.lower()) is not None
    place("environment", key, "")
    s = load_settings(tmp_path)
    assert getattr(s, key.lower()) is None
    assert (row(s, key)["value"], row(s, key)["source"]) == ("not set", "environment")


def test_empty_cuda_devices_mean_no_device_not_unset(tmp_path, place):
    place("environment", "CUDA_VISIBLE_DEVICES", "")
    assert load_settings(tmp_path).cuda_visible_devices == ""


def test_a_variable_expression_in_the_env_file_stays_as_written(tmp_path):
    (tmp_path / ".env").write_text("POLYGON_API_KEY=a${HOME}b\n")
    assert load_settings(tmp_path).polygon_api_key.get_secret_value() == "a${HOME}b"


def test_files_with_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / ".env").write_text("MODEL_CACHE_SIZE=3\n", encoding="utf-8-sig")
    (tmp_path / "settings.ini").write_text("[a]\nREDIS_MAX_CONNECTIONS = 4\n", encoding="utf-8-sig")
    s = load_settings(tmp_path)
    assert (s.model_cache_size, s.redis_max_connections) == (3, 4)


# --- what is refused

BAD = [
    ("RRR_HOME", "s3://bucket/rrr"),
    ("DATABASE_TYPE", "mysql"),
    ("DATABASE_TYPE", ""),
    ("DATABASE_PATH", ""),
    ("DATABASE_PATH", "."),
    ("DATABASE_PATH", "data/db/"),
    ("DATABASE_PATH", ":memory:"),
    ("DATABASE_PATH", "sqlite:///data/db/trading.db"),
    ("SUPABASE_URL", "abc.supabase.co"),
    ("SUPABASE_URL", "https://me:pw@abc.supabase.co"),
    ("DATABASE_POOL_MIN", "0"),
    ("DATABASE_POOL_MAX", "2.5"),
    ("DATABASE_POOL_TIMEOUT", "-1"),
    ("DATABASE_POOL_TIMEOUT", ""),
    ("REDIS_MAX_CONNECTIONS", "many"),
    ("PAPER_TRADING", "maybe"),
    ("PAPER_TRADING", ""),
    ("LIVE_TRADING", "2"),
    ("INITIAL_CAPITAL", "0"),
    ("INITIAL_CAPITAL", "-5"),
    ("INITIAL_CAPITAL", "1000000000"),
    ("INITIAL_CAPITAL", "nan"),
    ("INITIAL_CAPITAL", "Infinity"),
    ("INITIAL_CAPITAL", "100,000"),
    ("INITIAL_CAPITAL", "1234567.123456789"),
    ("INITIAL_CAPITAL", ""),
    ("MAX_POSITION_SIZE_PCT", "20"),
    ("MAX_POSITION_SIZE_PCT", "0"),
    ("MAX_POSITION_SIZE_PCT", "20%"),
    ("MAX_DAILY_LOSS_PCT", "-0.05"),
    ("MAX_DAILY_LOSS_PCT", "1.0001"),
    ("MODEL_CACHE_SIZE", "0"),
    ("MODEL_INFERENCE_BATCH_SIZE", "1e3"),
    ("CUDA_VISIBLE_DEVICES", "all"),
    ("CUDA_VISIBLE_DEVICES", "0,,1"),
    ("CUDA_VISIBLE_DEVICES", "GPU"),
]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_bad_value_is_refused_with_its_key_and_place(key, value, where, tmp_path, place):
    (problem,) = refusal(tmp_path, **place(where, key, value))
    assert problem.startswith(f"{key} in {SPOTS[where]} ")
    assert "should" in problem and problem.endswith(".")
    if value.isalnum():
        assert repr(value) in problem or key == "CUDA_VISIBLE_DEVICES"


BAD_SECRETS = [
    ("DATABASE_URL", f"mysql://quant:{CANARY}@host/db"),
    ("DATABASE_URL", f"postgresql+asyncpg://quant:{CANARY}@host/db"),
    ("DATABASE_URL", f"postgresql://quant:{CANARY}@host"),
    ("DATABASE_URL", f"postgresql://quant:{CANARY}@host:port/db"),
    ("DATABASE_URL", f"postgresql://quant:{CANARY}@{CANARY}@host/db"),
    ("DATABASE_URL", f"sqlite://{CANARY}.db"),
    ("DATABASE_URL", f"sqlite:///file:{CANARY}?uri=true"),
    ("REDIS_URL", f"http://:{CANARY}@host"),
    ("REDIS_URL", f"redis://:{CANARY}@"),
    *((key, f"{CANARY} {CANARY}") for key in SECRETS if key.endswith("KEY")),
    ("COINBASE_API_SECRET", f"-----BEGIN EC PRIVATE KEY----- {CANARY}"),
]


@pytest.mark.parametrize("where", ["command line", "environment", ".env"])
@pytest.mark.parametrize(("key", "value"), BAD_SECRETS)
def test_a_bad_secret_is_refused_without_repeating_it(key, value, where, tmp_path, place):
    (problem,) = refusal(tmp_path, **place(where, key, value))
    assert problem.startswith(f"{key} in {SPOTS[where]} should be ")
    assert CANARY not in problem


@pytest.mark.parametrize("key", sorted(set(KEYS) - set(SECRETS)))
def test_a_secret_on_the_wrong_line_is_not_repeated(key, tmp_path, place):
    for value in (SECRET_VALUES["DATABASE_URL"], f"sk-{CANARY}-0123456789"):
        place(".env", key, value)
        try:
            load_settings(tmp_path)
        except ConfigError as e:
            assert CANARY not in str(e)
        else:
            assert key in ("RRR_HOME", "DATABASE_PATH")  # a key without "://" is a possible path


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_in_the_shared_file_is_refused(key, tmp_path, place):
    place("settings.ini", key, SECRET_VALUES[key])
    (problem,) = refusal(tmp_path)
    assert problem == f"{key} in settings.ini [desk] line 2 is a secret and belongs in the environment or in .env."


@pytest.mark.parametrize(
    ("where", "key", "near"),
    [
        ("command line", "MODEL_CACHE_SISE", "MODEL_CACHE_SIZE"),
        ("environment", "RRR_HOEM", "RRR_HOME"),
        (".env", "POLYGON_API_KEI", "POLYGON_API_KEY"),
        ("settings.ini", "max_daily_los_pct", "MAX_DAILY_LOSS_PCT"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(where, key, near, tmp_path, place):
    (problem,) = refusal(tmp_path, **place(where, key, "5"))
    assert problem.startswith(f"unknown setting '{key.upper()}' in {SPOTS[where]}; did you mean '{near}'?")


def test_other_programs_variables_are_left_alone(tmp_path, place):
    place("environment", "DATABASE_HOST", "x")
    place("environment", "database_type", "x")
    load_settings(tmp_path)


def test_a_bad_value_is_refused_even_where_a_higher_place_hides_it(tmp_path, place):
    place("settings.ini", "MODEL_CACHE_SIZE", "x")
    place("environment", "MODEL_CACHE_SIZE", "3")
    assert refusal(tmp_path) == [
        "MODEL_CACHE_SIZE in settings.ini [desk] line 2 is 'x' but should be a valid integer.",
    ]


def test_a_key_given_twice_in_one_file_is_refused(tmp_path):
    (tmp_path / ".env").write_text("MODEL_CACHE_SIZE=3\n\n\nmodel_cache_size=3\n")
    (tmp_path / "settings.ini").write_text("[a]\nLIVE_TRADING = false\n[b]\nlive_trading = false\n")
    assert refusal(tmp_path) == [
        "MODEL_CACHE_SIZE in .env line 4 repeats the one in .env line 1.",
        "LIVE_TRADING in settings.ini [b] line 4 repeats the one in settings.ini [a] line 2.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("MODEL_CACHE_SIZE = 3\n", "settings.ini line 1 stands above the first [section]."),
        (f"[a]\n\n{CANARY}\n", "settings.ini line 3 is not KEY = value."),
        (f"[a]\n= {CANARY}\n", "settings.ini line 2 is not KEY = value."),
        (
            f"[a]\nMODEL_CACHE_SIZE = 3\n  {CANARY}\n",
            "settings.ini [a] line 2 goes on in an indented line, but a setting is one line.",
        ),
        (
            "[DEFAULT]\nMODEL_CACHE_SIZE = x\n",
            "MODEL_CACHE_SIZE in settings.ini [DEFAULT] line 2 is 'x' but should be a valid integer.",
        ),
    ],
)
def test_a_malformed_settings_ini_is_refused_with_its_line(text, problem, tmp_path):
    (tmp_path / "settings.ini").write_text(text)
    assert refusal(tmp_path) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"\n# keys\n{CANARY}\n", ".env line 3 is not KEY=value."),
        (f'POLYGON_API_KEY="{CANARY}\n', ".env line 1 is not KEY=value."),
        (f"MHc{'aB3' * 9}=={CANARY}\n", ".env line 1 does not begin with the name of a setting."),
    ],
)
def test_a_malformed_env_file_is_refused_with_its_line_and_without_its_text(text, problem, tmp_path):
    (tmp_path / ".env").write_text(text)
    assert refusal(tmp_path) == [problem]


@pytest.mark.parametrize("name", [".env", "settings.ini"])
def test_a_file_that_cannot_be_read_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"[a]\nX=\xff\xfe\n")
    assert refusal(tmp_path) == [f"{name} is not UTF-8 text."]
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert refusal(tmp_path) == [f"{name} cannot be read: Is a directory."]


def test_all_problems_are_named_at_once_a_sentence_each(tmp_path, place):
    place("settings.ini", "MODEL_CACHE_SIZE", "x")
    place(".env", "DATABASE_POOL_MIN", "50")
    place("environment", "RRR_SPEED", "9")
    problems = refusal(tmp_path, live_trading=True, initial_capital=-1)
    assert [p.split(" ")[0] for p in problems] == [
        "INITIAL_CAPITAL",
        "unknown",
        "MODEL_CACHE_SIZE",
        "DATABASE_POOL_MIN",
        "PAPER_TRADING",
    ]


# --- contradictions


def test_postgresql_needs_a_url(tmp_path):
    (problem,) = refusal(tmp_path, database_type="postgresql")
    assert problem == "DATABASE_TYPE in the command line is postgresql, but DATABASE_URL is not set."


@pytest.mark.parametrize(("kind", "other"), [("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_a_given_database_type_must_agree_with_the_url(kind, other, tmp_path, place):
    place(".env", "DATABASE_URL", f"{other}:///{CANARY}")
    (problem,) = refusal(tmp_path, database_type=kind)
    assert problem == (
        f"DATABASE_TYPE in the command line is {kind}, but DATABASE_URL in .env line 2 is a {other} URL."
    )
    assert load_settings(tmp_path, database_type=other).database_type == other


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_database_type_follows_the_url_when_nobody_set_it(scheme, tmp_path, place):
    place(".env", "DATABASE_URL", f"{scheme}://quant@127.0.0.1/trading")
    s = load_settings(tmp_path)
    assert s.database_type == "postgresql"
    assert row(s, "DATABASE_TYPE")["source"] == ".env"


def test_the_pool_minimum_may_not_exceed_the_maximum(tmp_path, place):
    place(".env", "DATABASE_POOL_MIN", "21")
    (problem,) = refusal(tmp_path)
    assert problem == "DATABASE_POOL_MIN in .env line 2 is 21, but DATABASE_POOL_MAX by default is only 20."
    load_settings(tmp_path, database_pool_max=21)


@pytest.mark.parametrize("both", [True, False])
def test_paper_and_live_trading_exclude_each_other(both, tmp_path):
    (problem,) = refusal(tmp_path, paper_trading=both, live_trading=both)
    assert problem.endswith(f"are both {str(both).lower()}, but exactly one must be true.")
    assert load_settings(tmp_path, paper_trading=False, live_trading=True).live_trading


def test_live_trading_alone_does_not_switch_paper_trading_off(tmp_path):
    (problem,) = refusal(tmp_path, live_trading=True)
    assert "PAPER_TRADING by default and LIVE_TRADING in the command line are both true" in problem


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "f").write_text("")
    (problem,) = refusal(tmp_path, rrr_home=tmp_path / "f")
    assert problem == "RRR_HOME in the command line is a file, but it should be a folder."


# --- secrets


@pytest.mark.parametrize("where", ["command line", "environment", ".env"])
def test_secrets_are_never_shown(where, tmp_path, monkeypatch, place):
    overrides = {}
    if where == ".env":
        (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in SECRET_VALUES.items()))
    else:
        for key, value in SECRET_VALUES.items():
            overrides |= place(where, key, value)
    s = load_settings(tmp_path, **overrides)
    table = settings_table(s)
    for shown in (repr(s), str(s), s.model_dump_json(), repr(s.model_dump()), repr(table), repr(vars(s))):
        assert CANARY not in shown
    assert {r["value"] for r in table if r["key"] in SECRETS} == {"set"}
    assert all(CANARY in getattr(s, key.lower()).get_secret_value() for key in SECRETS)


def test_secrets_stay_hidden_in_pydantics_debug_log_and_own_errors(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    caplog.set_level("DEBUG")
    load_settings(tmp_path, polygon_api_key=CANARY)
    assert CANARY not in caplog.text
    with pytest.raises(ValueError) as e:
        Settings(polygon_api_key=f"{CANARY} {CANARY}", supabase_url=CANARY)
    assert CANARY not in str(e.value)


def test_a_private_key_may_have_several_lines(tmp_path):
    (tmp_path / ".env").write_text(f'COINBASE_API_SECRET="{PEM}"\nMODEL_CACHE_SIZE=x\n')
    (problem,) = refusal(tmp_path)
    assert problem.startswith("MODEL_CACHE_SIZE in .env line 5 ")
    for text in (PEM, PEM.replace("\n", "\\n"), "c2VjcmV0a2V5+/=="):
        assert load_settings(tmp_path / "none", coinbase_api_secret=text).coinbase_api_secret.get_secret_value() == text


def test_a_private_key_without_quotes_is_refused_and_not_repeated(tmp_path):
    (tmp_path / ".env").write_text(f"COINBASE_API_SECRET={PEM}\n")
    text = "\n".join(refusal(tmp_path))
    assert "COINBASE_API_SECRET in .env line 1 should be" in text
    assert "MHcCAQEE" not in text and "oUQDQgAE" not in text


# --- folders and database URL


def test_folders_follow_the_home(tmp_path):
    s = load_settings(tmp_path)
    assert (s.project_root, s.home) == (tmp_path, tmp_path)
    s = load_settings(tmp_path, rrr_home="/srv/rrr")
    assert (s.project_root, s.home) == (tmp_path, Path("/srv/rrr"))
    assert (s.data_dir, s.reports_dir) == (Path("/srv/rrr/data"), Path("/srv/rrr/reports"))


@pytest.mark.parametrize("where", PLACES)
def test_a_relative_home_starts_where_it_was_written(where, tmp_path, monkeypatch, place):
    root, here = tmp_path / "root", tmp_path / "here"
    here.mkdir()
    root.mkdir()
    monkeypatch.chdir(here)
    overrides = place(where, "RRR_HOME", "work")
    for name in (".env", "settings.ini"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(root / name)
    s = load_settings(root, **overrides)
    monkeypatch.chdir(tmp_path)
    assert s.home == (here if where in ("command line", "environment") else root) / "work"
    assert row(s, "RRR_HOME")["value"] == str(s.home)


def test_home_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(tmp_path / "none", rrr_home="~/rrr").home == tmp_path / "rrr"


@pytest.mark.parametrize("folder", ["plain", "with space", "100%25", "why?", "ümlaut#1"])
def test_the_sqlite_url_names_the_very_file(folder, tmp_path):
    home = tmp_path / folder
    assert make_url(load_settings(tmp_path, rrr_home=home).sqlalchemy_url).database == str(home / "data/db/trading.db")
    s = load_settings(tmp_path, rrr_home=home, database_path="/var/x.db")
    assert s.sqlalchemy_url == "sqlite:////var/x.db"


@pytest.mark.parametrize(
    ("given_url", "resolved"),
    [
        ("sqlite:///db/x.db", "sqlite:////srv/db/x.db"),
        ("sqlite:////tmp/x.db?timeout=5", "sqlite:////tmp/x.db?timeout=5"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgres://u:p%40@h:5432/d?sslmode=require", "postgresql+psycopg://u:p%40@h:5432/d?sslmode=require"),
        ("postgresql:///d?host=/tmp/pg", "postgresql+psycopg:///d?host=/tmp/pg"),
        ("postgresql+psycopg://u@[::1]:5432/d", "postgresql+psycopg://u@[::1]:5432/d"),
    ],
)
def test_a_database_url_is_resolved_for_sqlalchemy(given_url, resolved, tmp_path):
    s = load_settings(tmp_path, rrr_home="/srv", database_url=given_url)
    assert s.sqlalchemy_url == resolved
    assert make_url(resolved).get_backend_name() == s.database_type


# --- the process


def test_get_settings_reads_once_until_the_cache_is_cleared(monkeypatch, tmp_path):
    monkeypatch.setattr("rrr.core.settings.project_root", lambda: tmp_path / "none")
    first = get_settings()
    monkeypatch.setenv("RRR_HOME", str(tmp_path))
    assert get_settings() is first
    get_settings.cache_clear()
    assert get_settings().home == tmp_path


def test_settings_cannot_be_changed_but_copied_and_pickled(tmp_path):
    s = load_settings(tmp_path, model_cache_size=3)
    with pytest.raises(ValueError):
        s.model_cache_size = 4
    again = pickle.loads(pickle.dumps(s))
    assert again == s and settings_table(again) == settings_table(s) and again.home == s.home


def test_settings_ini_of_the_project_is_valid(tmp_path):
    shared = Path(__file__).parents[1] / "settings.ini"
    (tmp_path / "settings.ini").write_bytes(shared.read_bytes())
    assert row(load_settings(tmp_path), "DATABASE_POOL_MIN")["source"] == "settings.ini"


def test_the_project_root_is_the_folder_of_settings_ini_wherever_we_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project_root() == Path(rrr.__file__).parents[1]
    monkeypatch.setattr(rrr, "__file__", str(tmp_path / "site" / "rrr" / "__init__.py"))
    assert project_root() == tmp_path


def test_the_limits_that_nothing_enforces_yet_say_so(tmp_path):
    for key in ("MAX_POSITION_SIZE_PCT", "MAX_DAILY_LOSS_PCT"):
        assert "validated; enforced once the risk gate exists" in row(load_settings(tmp_path), key)["help"]
    assert all(r["help"] for r in settings_table(load_settings(tmp_path)))


@pytest.mark.parametrize("value", ["", "0", "0,1", "-1", "GPU-8932f937-d72c", "MIG-GPU-8932f937/1/0", "0, 2"])
def test_cuda_device_lists_are_taken(value, tmp_path):
    assert load_settings(tmp_path, cuda_visible_devices=value).cuda_visible_devices == value


anywhere = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers = st.decimals(allow_nan=True, allow_infinity=True, places=None) | st.decimals(-1, 2, places=4)


def accepted(root, **overrides) -> bool:
    try:
        load_settings(root, **overrides)
    except ConfigError:
        return False
    return True


@anywhere
@given(value=numbers)
def test_a_fraction_is_taken_if_and_only_if_it_is_above_0_and_at_most_1(value, tmp_path):
    right = value.is_finite() and 0 < value <= 1
    assert accepted(tmp_path, max_daily_loss_pct=value) == accepted(tmp_path, max_position_size_pct=value) == right


@anywhere
@given(value=st.decimals(-10, 100_000_000, places=6) | st.decimals(999_999_999, 1_000_000_001, places=6))
def test_capital_is_taken_if_and_only_if_money_is_exact_at_that_size(value, tmp_path):
    assert accepted(tmp_path, initial_capital=value) == (0 < value < 1_000_000_000)


@anywhere
@given(value=st.integers(-10, 10_000), key=st.sampled_from([k for k in KEYS if k.endswith(("SIZE", "CONNECTIONS"))]))
def test_a_count_is_taken_if_and_only_if_it_is_positive(value, key, tmp_path):
    assert accepted(tmp_path, **{key.lower(): value}) == (value >= 1)


@anywhere
@given(text=st.text(max_size=60))
def test_whatever_stands_in_the_files_gives_settings_or_a_config_error(text, tmp_path):
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    (tmp_path / "settings.ini").write_text("[a]\n" + text, encoding="utf-8")
    accepted(tmp_path)
