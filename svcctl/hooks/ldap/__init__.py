"""ldap: people and groups of an OpenLDAP server or of an Active Directory."""

from collections.abc import Iterable
from typing import Any, Self

from pydantic import Field, model_validator

from svcctl.config.ldap import DN, Attribute, Filter, LdapTree
from svcctl.config.service import HookConfig
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.ldap.manager import PATHS, LdapManager
from svcctl.ldap.dialect import DIALECTS, OPENLDAP
from svcctl.ldap.names import domain
from svcctl.model import Verb
from svcctl.names import NameRule

__all__ = ["LdapConfig", "LdapHook", "LdapManager"]

_OURS = frozenset({"objectclass", "userpassword", "unicodepwd", "useraccountcontrol", "memberof"})
_WINDOWS_ONLY = ("upn_suffix",)
_OPENLDAP_ONLY = ("ppolicy", "placeholder")


class LdapConfig(LdapTree, HookConfig):
    """The settings of people and groups in a directory."""

    base: DN = Field(description="where people are, also below; new ones are made directly there")
    user_filter: Filter | None = Field(
        None, description="who is an account; default: inetOrgPerson, in Active Directory user"
    )
    user_classes: tuple[Attribute, ...] = Field(
        (), description="objectClass of new entries; default: those same"
    )
    external_ids: bool = Field(
        default=True, description="false: our key is kept nowhere, accounts are found by name"
    )
    external_id_attribute: Attribute = Field(
        "employeeNumber", description="the attribute that keeps our key for the user"
    )
    nickname_attribute: Attribute = Field(
        "displayName", description="the attribute that holds the nickname"
    )
    paths: dict[str, Attribute] = Field(
        default_factory=lambda: dict(PATHS),
        description="user attribute -> LDAP attribute, for those that `attributes` names; others "
        "go by their own name",
    )
    upn_suffix: str | None = Field(
        None,
        min_length=1,
        description="Active Directory: what follows the @ in userPrincipalName; default: made "
        "from base",
    )
    ppolicy: bool = Field(
        default=True,
        description="OpenLDAP: false where the overlay is not loaded; accounts cannot be "
        "disabled then",
    )
    placeholder: DN = Field(
        "cn=nobody",
        description="OpenLDAP: the member of a group that nobody is in, where its class wants one",
    )

    @model_validator(mode="after")
    def _fits_the_dialect(self) -> Self:
        if self.bind_dn is None:
            raise ValueError("bind_dn and bind_password are needed: nobody writes as nobody")
        windows = self.dialect == "active-directory"
        for name in _OPENLDAP_ONLY if windows else _WINDOWS_ONLY:
            if name in self.model_fields_set:
                raise ValueError(f"{name} is not for dialect = {self.dialect!r}")
        dialect = DIALECTS[self.dialect]
        named = {dialect.uid.lower(), dialect.name.lower(), dialect.rdn.lower()}
        taken = (
            _OURS | named | ({self.external_id_attribute.lower()} if self.external_ids else set())
        )
        for attribute in (*self.paths.values(), self.nickname_attribute):
            if attribute.lower() in taken:
                raise ValueError(f"{attribute}: svcctl sets it itself; name another attribute")
        return self


class LdapHook(ServiceHook):
    """People in a directory: named by uid or sAMAccountName, known by entryUUID or objectGUID."""

    config: LdapConfig
    config_class = LdapConfig
    manager_class = LdapManager
    version = "1"
    # RFC 4519, 2.39: uid is compared without regard to case.
    username_rule = NameRule(case_sensitive=False, max_bytes=OPENLDAP.longest)
    nickname_rule = NameRule(min_length=0, max_length=256)
    group_rule = NameRule(max_length=64)

    def __init__(self, name: str, config: LdapConfig, **kwargs: Any) -> None:
        if config.dialect == "active-directory":
            self.username_rule = WINDOWS_NAMES
        super().__init__(name, config, **kwargs)

    def cannot(self) -> Iterable[str]:
        if self.config.group_base is None:
            yield from (Verb.CHANGE_GROUPS, "list_groups")
        if not self.config.ppolicy:
            yield from (Verb.DISABLE, Verb.ENABLE)

    def manager_arguments(self) -> dict[str, Any]:
        arguments = super().manager_arguments()
        if self.config.dialect == "active-directory":
            arguments["upn_suffix"] = self.config.upn_suffix or domain(self.config.base)
        return arguments


WINDOWS_NAMES = NameRule(
    characters=r"\w!#$%&'()\-.^_`{}~ ", strip=" .", max_length=20, case_sensitive=False
)
"""sAMAccountName of people: MS-SAMR 3.1.1.6, MS-ADTS 3.1.1.3.1.2 and Windows' limit of 20."""
